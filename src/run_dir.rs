//! The run folder: manifest, lock, saved items, resume.
