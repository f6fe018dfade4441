//! Conditions that are not tested. Manifests have a list of names for each reason.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A condition that is not tested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    pub name: String,
    pub why: SkipReason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SkipReason {
    /// The answers depend on it, and it cannot be tested. It is wording, cannot be inserted into a
    /// probe, or has too few null conditions.
    Unfit,
    /// The answers depend on it, and it exceeds the maximum number: with it nothing is clean.
    CrowdedOut,
    /// A slot without measured dependence that exceeds the maximum number.
    Independent,
}

/// The names of one reason.
pub fn names(skipped: &[Skipped], why: SkipReason) -> Vec<&str> {
    let of_reason = skipped.iter().filter(|skipped| skipped.why == why);
    of_reason.map(|skipped| skipped.name.as_str()).collect()
}

/// The fields of a manifest; fields without names are absent.
#[derive(Serialize, Deserialize)]
struct NamesByReason {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    untried: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    crowded_out: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    slots_left_out: Vec<String>,
}

pub fn serialize<S: Serializer>(skipped: &[Skipped], serializer: S) -> Result<S::Ok, S::Error> {
    let names = |why| names(skipped, why).into_iter().map(str::to_owned).collect();
    let fields = NamesByReason {
        untried: names(SkipReason::Unfit),
        crowded_out: names(SkipReason::CrowdedOut),
        slots_left_out: names(SkipReason::Independent),
    };
    fields.serialize(serializer)
}

pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Skipped>, D::Error> {
    let fields = NamesByReason::deserialize(deserializer)?;
    let by_reason = [
        (SkipReason::Unfit, fields.untried),
        (SkipReason::CrowdedOut, fields.crowded_out),
        (SkipReason::Independent, fields.slots_left_out),
    ];
    let skipped = |(why, names): (SkipReason, Vec<String>)| {
        names.into_iter().map(move |name| Skipped { name, why })
    };
    Ok(by_reason.into_iter().flat_map(skipped).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Outer {
        before: u64,
        #[serde(flatten, with = "super")]
        skipped: Vec<Skipped>,
        after: f64,
    }

    fn read(json: &str) -> Outer {
        serde_json::from_str(json).expect("a manifest")
    }

    #[test]
    fn the_list_is_written_as_names_by_reason_and_read_again() {
        let json = r#"{"before":1,"untried":["a","b"],"slots_left_out":["c"],"after":0.1}"#;
        let outer = read(json);
        assert_eq!(names(&outer.skipped, SkipReason::Unfit), ["a", "b"]);
        assert_eq!(names(&outer.skipped, SkipReason::Independent), ["c"]);
        assert_eq!(serde_json::to_string(&outer).expect("JSON"), json);
    }

    #[test]
    fn no_skipped_condition_leaves_no_field_and_unknown_fields_are_ignored() {
        let outer = read(r#"{"before":1,"older_field":[true],"after":0.1}"#);
        assert_eq!(outer, Outer { before: 1, skipped: Vec::new(), after: 0.1 });
        assert_eq!(serde_json::to_string(&outer).expect("JSON"), r#"{"before":1,"after":0.1}"#);
    }
}
