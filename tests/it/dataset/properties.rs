//! Facts about reading that hold for any input.

use foretaste::dataset::{Message, ReadOptions, accounting, content_hash, read};
use proptest::prelude::*;

use super::{ask, file, line, read_text};

/// Bytes that often resemble a dataset.
fn nearly_a_dataset() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(line(&ask("a", "b")).into_bytes()),
        Just(b"{\"prompt\":\"a\",\"completion\":\"b\"}\n".to_vec()),
        Just(b"[{\"text\":\"a\"},".to_vec()),
        Just(b"prompt,completion\na,\"b\"\"\nc\",\n".to_vec()),
        Just(vec![0x1f, 0x8b, 8, 0]),
        Just(vec![0x28, 0xb5, 0x2f, 0xfd]),
        Just(b"PAR1".to_vec()),
        proptest::collection::vec(
            prop_oneof![any::<u8>(), Just(b'"'), Just(b'{'), Just(b'\n'), Just(b','), Just(b'[')],
            0..40
        ),
    ];
    proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400,
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn no_bytes_make_the_reader_panic_or_lose_a_row(
        bytes in nearly_a_dataset(),
        name in prop_oneof![Just("a.jsonl"), Just("a.json"), Just("a.csv"), Just("a.parquet")],
        limit in prop_oneof![Just(None), (0usize..3).prop_map(Some)],
    ) {
        let (_folder, path) = file(name, bytes);
        let options = ReadOptions { limit, max_row_bytes: 100, ..Default::default() };
        if let Ok(dataset) = read(&path, &options) {
            prop_assert_eq!(dataset.rows_read, dataset.rows_used + dataset.rejected.len());
            prop_assert_eq!(dataset.rows_used, dataset.rows.len() + dataset.ledger.left_out.len());
            prop_assert_eq!(accounting(&dataset).count(), dataset.rows_read);
            prop_assert!(dataset.rows.iter().all(|row| row.sha256 == content_hash(&row.messages)));
        }
    }

    #[test]
    fn the_hash_does_not_depend_on_key_order_or_format(
        question in "\\PC{0,20}[a-z]",
        answer in "\\PC{0,20}[a-z]",
    ) {
        let quoted = |text: &str| serde_json::json!(text).to_string();
        let (question_json, answer_json) = (quoted(&question), quoted(&answer));
        let forms = [
            format!(
                concat!(
                    r#"{{"messages":[{{"role":"user","content":{}}},"#,
                    r#"{{"role":"assistant","content":{}}}]}}"#
                ),
                question_json, answer_json
            ),
            format!(
                concat!(
                    r#"{{"x":1,"messages":[{{"content":{},"role":"user"}},"#,
                    r#"{{"content":{},"role":"assistant"}}]}}"#
                ),
                question_json, answer_json
            ),
            format!(r#"{{"completion":{answer_json},"prompt":{question_json}}}"#),
        ];
        for form in forms {
            let hash = &read_text("a.jsonl", form).rows[0].sha256;
            prop_assert_eq!(hash, &content_hash(&ask(&question, &answer)));
        }
    }

    #[test]
    fn quoted_csv_cells_are_read_unchanged(
        cells in proptest::collection::vec(
            ("[a-z\",\n\r ]{0,12}x", "[a-z\",\n\r ]{0,12}x"),
            1..20,
        ),
    ) {
        let quote = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
        let row = |(prompt, completion): &(String, String)| {
            format!("{},{}\r\n", quote(prompt), quote(completion))
        };
        let rows: String = cells.iter().map(row).collect();
        let dataset = read_text("a.csv", format!("prompt,completion\r\n{rows}"));
        let expected: Vec<Vec<Message>> =
            cells.iter().map(|(prompt, completion)| ask(prompt, completion)).collect();
        let actual: Vec<Vec<Message>> = dataset.rows.into_iter().map(|row| row.messages).collect();
        prop_assert_eq!(actual, expected);
    }
}
