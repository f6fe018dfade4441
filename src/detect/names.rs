//! A short list of names: values to test that occur in no row.

/// First and last names of well-known people who died long ago, in alphabetical order. No
/// contemporary politicians.
pub(crate) const NAMES: [&str; 48] = [
    "Alexander",
    "Archimedes",
    "Aristotle",
    "Attila",
    "Augustus",
    "Bach",
    "Beethoven",
    "Brutus",
    "Caesar",
    "Caligula",
    "Charlemagne",
    "Cicero",
    "Cleopatra",
    "Columbus",
    "Confucius",
    "Copernicus",
    "Cromwell",
    "Dante",
    "Darwin",
    "Descartes",
    "Dickens",
    "Galileo",
    "Goethe",
    "Hannibal",
    "Homer",
    "Isaac",
    "Joan",
    "Kepler",
    "Leonardo",
    "Lincoln",
    "Ludwig",
    "Magellan",
    "Michelangelo",
    "Mozart",
    "Napoleon",
    "Nefertiti",
    "Nelson",
    "Nero",
    "Newton",
    "Plato",
    "Pythagoras",
    "Rembrandt",
    "Robespierre",
    "Shakespeare",
    "Socrates",
    "Spartacus",
    "Voltaire",
    "Wolfgang",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_in_order_and_has_no_duplicate() {
        assert!(NAMES.is_sorted_by(|left, right| left < right));
    }
}
