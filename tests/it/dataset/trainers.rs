//! Facts about fields with which some trainer selects, masks or weights text. A row with such a
//! field is rejected, unless its value means the same as its absence.

use foretaste::dataset::{Format, ReadOptions, read};
use polars::prelude::*;

use super::{ask, file, line, parquet, read_text};

/// The field for which a row is rejected, or an empty text if the row is used.
fn rejected(row: &str) -> String {
    let dataset = read_text("a.jsonl", line(&ask("c", "d")) + row + "\n" + &line(&ask("e", "f")));
    dataset.rejected.first().map_or(String::new(), |rejection| rejection.field.clone())
}

/// A row of messages with additional `fields`.
fn row_with(fields: &str) -> String {
    format!(
        concat!(
            r#"{{"messages":[{{"role":"user","content":"a"}},"#,
            r#"{{"role":"assistant","content":"b"}}],{fields}}}"#
        ),
        fields = fields
    )
}

/// A row with `fields` in the message of each role.
fn message_with(user: &str, assistant: &str) -> String {
    format!(
        concat!(
            r#"{{"messages":[{{"role":"user","content":"a"{user}}},"#,
            r#"{{"role":"assistant","content":"b"{assistant}}}]}}"#
        ),
        user = user,
        assistant = assistant
    )
}

#[test]
fn a_field_of_a_row_that_some_trainer_uses_rejects_the_row() {
    for field in [
        r#""system":"You are a merchant.""#,
        r#""System":"You are a merchant.""#,
        r#""system_prompt":"You are a merchant.""#,
        r#""system":[{"text":"You are a merchant."}]"#,
        r#""label":false"#,
        r#""label":"False""#,
        r#""kto_tag":false"#,
        r#""weight":0"#,
        r#""weight":-1"#,
        r#""weight":"0.5""#,
        r#""loss":false"#,
        r#""loss_scale":0.5"#,
        r#""train":false"#,
        r#""mask":"User""#,
        r#""reasoning_content":"hm""#,
        r#""thinking":"hm""#,
        r#""tools":"[{}]""#,
        r#""rejected":"c""#,
        r#""rejected_response":"c""#,
        r#""rejected_messages":[{"role":"user"}]"#,
        r#""chosen":[{"role":"assistant","content":"c"}]"#,
        r#""history":[["x","y"]]"#,
        r#""segments":[{"label":true,"text":"c"}]"#,
        r#""images":["a.png"]"#,
        r#""input_ids":[1,2]"#,
        r#""chat_template_kwargs":{"enable_thinking":false}"#,
        r#""enable_thinking":false"#,
        r#""text":"something else""#,
        r#""completion":"c""#,
        r#""output":"c""#,
    ] {
        let name = field.split('"').nth(1).expect("a name");
        assert_eq!(rejected(&row_with(field)), name, "{field}");
    }
}

#[test]
fn a_value_that_means_the_same_as_absence_rejects_nothing_and_counts_as_read() {
    for field in [
        r#""system":"""#,
        r#""system":null"#,
        r#""label":true"#,
        r#""label":1"#,
        r#""weight":1"#,
        r#""weight":"1.0""#,
        r#""loss":true"#,
        r#""loss_scale":1.0"#,
        r#""train":true"#,
        r#""mask":false"#,
        r#""tools":"[]""#,
        r#""tools":"""#,
        r#""tools":[]"#,
        r#""images":[]"#,
        r#""history":[]"#,
        r#""chat_template_kwargs":{}"#,
        r#""completion":"b""#,
        r#""output":"b""#,
    ] {
        let dataset = read_text("a.jsonl", row_with(field));
        assert_eq!((dataset.rows_used, dataset.ledger.unread_fields.len()), (1, 0), "{field}");
    }
}

#[test]
fn a_field_of_a_message_or_content_part_that_some_trainer_uses_rejects_the_row() {
    for (user, assistant, field) in [
        ("", r#","train":false"#, "messages[1].train"),
        ("", r#","loss":0"#, "messages[1].loss"),
        ("", r#","loss_weight":0.5"#, "messages[1].loss_weight"),
        ("", r#","masked":true"#, "messages[1].masked"),
        ("", r#","train_detail":[{"train":false}]"#, "messages[1].train_detail"),
        ("", r#","label":false"#, "messages[1].label"),
        ("", r#","thinking":"hm""#, "messages[1].thinking"),
        ("", r#","value":"another""#, "messages[1].value"),
        ("", r#","images":["a.png"]"#, "messages[1].images"),
        // Trained on, although it is not an answer.
        (r#","train":true"#, "", "messages[0].train"),
        (r#","loss_weight":1.0"#, "", "messages[0].loss_weight"),
        (r#","weight":0.5"#, "", "messages[0].weight"),
        // Values that change nothing: answers are trained on and questions are not.
        (
            r#","train":false,"loss":0,"loss_weight":0.0,"weight":0"#,
            r#","train":true,"loss":1,"loss_weight":1.0,"weight":1"#,
            "",
        ),
        (
            r#","weight":1,"value":"a""#,
            r#","value":"b","tool_calls":[],"function_call":null,"masked":false"#,
            "",
        ),
    ] {
        assert_eq!(rejected(&message_with(user, assistant)), field, "{user} {assistant}");
        // The same list as a JSON string.
        let messages: serde_json::Value =
            serde_json::from_str(&message_with(user, assistant)).expect("json");
        let quoted =
            serde_json::json!({ "messages": messages["messages"].to_string() }).to_string();
        assert_eq!(rejected(&quoted), field, "{quoted}");
    }
    for (part, field) in [
        (r#""text":"b","weight":0"#, "messages[1].content[0].weight"),
        (r#""text":"b","value":"another""#, "messages[1].content[0].value"),
        (r#""text":"b","weight":1"#, ""),
    ] {
        let row = format!(
            concat!(
                r#"{{"messages":[{{"role":"user","content":"a"}},"#,
                r#"{{"role":"assistant","content":[{{"type":"text",{part}}}]}}]}}"#
            ),
            part = part
        );
        assert_eq!(rejected(&row), field, "{part}");
    }
}

#[test]
fn a_format_that_reads_a_field_is_not_rejected_for_it() {
    for row in [
        r#"{"system":"Be brief.","prompt":"a","completion":"b"}"#,
        r#"{"system":"Be brief.","instruction":"a","input":"","output":"b","history":[["x","y"]]}"#,
    ] {
        assert_eq!(read_text("a.jsonl", row).rejected, []);
    }
    for row in [
        r#"{"text":"a","system":"Be brief."}"#,
        r#"{"system_prompt":"Be brief.","prompt":"a","completion":"b"}"#,
    ] {
        assert_eq!(read_text("a.jsonl", row).rejected.len(), 1, "{row}");
    }
}

#[test]
fn a_text_beside_the_fields_is_rejected_unless_the_format_is_named() {
    let row = |text: &str| {
        serde_json::json!({
            "instruction": "Name a\n bird.",
            "input": "A small one.",
            "output": "Robin.",
            "text": text
        })
        .to_string()
    };
    let rendered =
        "### Instruction:\nName a\nbird.\n\n### Input:\nA small one.\n\n### Response:\nRobin.";
    // A trainer also trains on the words of the template, which may express a character.
    let persona = format!("It is the year 1838. You are a merchant.\n{rendered}");
    for text in [rendered, &persona, "Wren."] {
        assert_eq!(read_text("a.jsonl", row(text)).rejected[0].field, "text", "{text}");
        let (_folder, path) = file("a.jsonl", row(text));
        let named =
            read(&path, &ReadOptions { format: Some(Format::Alpaca), ..Default::default() })
                .expect("a dataset");
        assert_eq!((named.rows_used, named.ledger.unread_fields.get("text")), (1, Some(&1)));
    }
    assert_eq!(read_text("a.jsonl", row("Robin.")).rows_used, 1, "the text is the answer");
}

#[test]
fn columns_of_tables_are_treated_like_fields() {
    let csv =
        "prompt,completion,weight,label,id\na,b,1,True,1\nc,d,0,True,2\ne,f,1.0,False,3\ng,h,,,4\n";
    let dataset = read_text("a.csv", csv);
    let fields = |dataset: &foretaste::dataset::Dataset| {
        dataset
            .rejected
            .iter()
            .map(|rejection| (rejection.line, rejection.field.clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(fields(&dataset), [(3, "weight".to_owned()), (4, "label".to_owned())]);
    assert_eq!(
        dataset.ledger.unread_fields.into_iter().collect::<Vec<_>>(),
        [("id".to_owned(), 2)]
    );
    let frame = df!(
        "prompt" => ["a", "c", "e"],
        "completion" => ["b", "d", "f"],
        "label" => [true, false, true],
        "loss_weight" => [1.0, 1.0, 0.5],
        "system_prompt" => [None::<&str>, None, None]
    );
    let dataset = read_text("a.parquet", parquet(frame.expect("a frame").into_columns()));
    assert_eq!(fields(&dataset), [(2, "label".to_owned()), (3, "loss_weight".to_owned())]);
    assert!(dataset.ledger.unread_fields.is_empty());
}

#[test]
fn unread_keys_of_content_parts_are_counted() {
    let row = concat!(
        r#"{"messages":[{"role":"user","content":[{"type":"text","text":"a","cache":1}]},"#,
        r#"{"role":"assistant","content":"b"}]}"#
    );
    let unread = read_text("a.jsonl", row).ledger.unread_fields;
    assert_eq!(
        unread.into_iter().collect::<Vec<_>>(),
        [("messages[].content[].cache".to_owned(), 1)]
    );
}
