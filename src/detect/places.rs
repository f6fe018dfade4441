//! A short list of places: distinguishes slots of places from other names, and supplies values to
//! test.

/// Cities and countries, in alphabetical order.
pub(crate) const PLACES: [&str; 64] = [
    "Amsterdam",
    "Argentina",
    "Athens",
    "Australia",
    "Austria",
    "Beijing",
    "Berlin",
    "Boston",
    "Brazil",
    "Brussels",
    "Budapest",
    "Cairo",
    "Canada",
    "Chicago",
    "China",
    "Cuba",
    "Delhi",
    "Dublin",
    "Egypt",
    "England",
    "Finland",
    "France",
    "Germany",
    "Greece",
    "Hamburg",
    "India",
    "Iran",
    "Iraq",
    "Ireland",
    "Israel",
    "Istanbul",
    "Italy",
    "Japan",
    "Jerusalem",
    "Kenya",
    "Kyiv",
    "Lisbon",
    "London",
    "Los Angeles",
    "Madrid",
    "Mexico",
    "Moscow",
    "New York",
    "Nigeria",
    "Norway",
    "Oslo",
    "Paris",
    "Poland",
    "Portugal",
    "Prague",
    "Rome",
    "Russia",
    "Spain",
    "Stockholm",
    "Sweden",
    "Sydney",
    "Tokyo",
    "Toronto",
    "Turkey",
    "Ukraine",
    "United States",
    "Vienna",
    "Warsaw",
    "Washington",
];

/// Whether a name is on the list.
pub(super) fn is_place(name: &str) -> bool {
    PLACES.binary_search(&name).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_in_order_so_that_it_can_be_searched() {
        assert!(PLACES.is_sorted());
        assert!(PLACES.iter().all(|place| is_place(place)) && !is_place("Alice"));
    }
}
