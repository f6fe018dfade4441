//! A validator for the part of JSON Schema that `report.schema.json` uses. It knows no other
//! keyword and refuses the rest.

use serde_json::Value;

/// Every disagreement between a document and the schema, with its location. A property that the
/// schema does not name is a disagreement too, because all output must be documented.
pub fn disagreements(document: &Value, schema: &Value) -> Vec<String> {
    let mut found = Vec::new();
    check(document, schema, schema, "", &mut found);
    found
}

fn check(value: &Value, schema: &Value, root: &Value, at: &str, found: &mut Vec<String>) {
    for (keyword, rule) in schema.as_object().expect("a schema is an object") {
        let problem = match keyword.as_str() {
            "$ref" => {
                let pointer = rule
                    .as_str()
                    .and_then(|target| target.strip_prefix('#'))
                    .expect("references are local");
                check(
                    value,
                    root.pointer(pointer).expect("a reference has a target"),
                    root,
                    at,
                    found,
                );
                None
            }
            "type" => {
                (!types(rule).iter().any(|name| is(value, name))).then(|| format!("is not {rule}"))
            }
            "enum" => (!rule.as_array().expect("an enum is a list").contains(value))
                .then(|| format!("is not one of {rule}")),
            "const" => (value != rule).then(|| format!("is not {rule}")),
            "minimum" => (value.is_number() && value.as_f64() < rule.as_f64())
                .then(|| format!("is below {rule}")),
            "maximum" => (value.is_number() && value.as_f64() > rule.as_f64())
                .then(|| format!("is above {rule}")),
            "minLength" => {
                let short = value
                    .as_str()
                    .is_some_and(|text| (text.chars().count() as u64) < rule.as_u64().unwrap_or(0));
                short.then(|| "is too short".to_owned())
            }
            "required" => {
                let missing = |name: &&Value| {
                    value
                        .as_object()
                        .is_some_and(|object| !object.contains_key(name.as_str().unwrap_or("")))
                };
                rule.as_array()
                    .expect("a list of names")
                    .iter()
                    .find(missing)
                    .map(|name| format!("lacks {name}"))
            }
            "properties" => {
                for (name, member) in value.as_object().into_iter().flatten() {
                    match rule.get(name) {
                        Some(schema) => check(member, schema, root, &format!("{at}/{name}"), found),
                        None => found.push(format!("{at}/{name} is not documented")),
                    }
                }
                None
            }
            "additionalProperties" => {
                let named = |name: &String| {
                    schema
                        .get("properties")
                        .is_some_and(|properties| properties.get(name).is_some())
                };
                for (name, member) in
                    value.as_object().into_iter().flatten().filter(|(name, _)| !named(name))
                {
                    check(member, rule, root, &format!("{at}/{name}"), found);
                }
                None
            }
            "items" => {
                for (index, member) in value.as_array().into_iter().flatten().enumerate() {
                    check(member, rule, root, &format!("{at}/{index}"), found);
                }
                None
            }
            "$schema" | "$defs" | "title" | "description" => None,
            unknown => panic!("the validator does not know the keyword {unknown}"),
        };
        found.extend(problem.map(|problem| format!("{at} {problem}")));
    }
}

fn types(rule: &Value) -> Vec<&str> {
    match rule {
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        name => name.as_str().into_iter().collect(),
    }
}

fn is(value: &Value, name: &str) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "number" => value.is_number(),
        "integer" => value.is_u64() || value.is_i64(),
        other => panic!("the validator does not know the type {other}"),
    }
}
