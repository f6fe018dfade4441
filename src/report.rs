//! All of it rendered: json, html, png and text.
