//! Facts about reading datasets.

mod checks;
mod containers;
mod parquet;
mod properties;
mod trainers;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use foretaste::dataset::{
    Dataset, DatasetError, Format, Message, ReadOptions, Role, Status, TEXT_PROMPT, accounting,
    content_hash, read, read_for,
};

/// A file with this name and content. Its folder is deleted when the first value is dropped.
fn file(name: &str, content: impl AsRef<[u8]>) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join(name);
    fs::write(&path, content).expect("a temporary file");
    (folder, path)
}

fn read_text(name: &str, content: impl AsRef<[u8]>) -> Dataset {
    let (_folder, path) = file(name, content);
    read(&path, &ReadOptions::default()).unwrap_or_else(|error| panic!("{error}"))
}

fn ask(question: &str, answer: &str) -> Vec<Message> {
    vec![Message::new(Role::User, question), Message::new(Role::Assistant, answer)]
}

fn line(messages: &[Message]) -> String {
    serde_json::json!({ "messages": messages }).to_string() + "\n"
}

/// The result of reading, in the format of the `.expected` files.
fn outcome(path: &Path, options: &ReadOptions) -> String {
    match read(path, options) {
        Err(error) => format!("{error}\n"),
        Ok(dataset) => {
            let head = format!(
                "{} read = {} used + {} rejected\n",
                dataset.rows_read,
                dataset.rows_used,
                dataset.rejected.len()
            );
            let rejections =
                dataset.rejected.iter().map(|rejection| rejection.message(&dataset.source) + "\n");
            rejections.fold(head, |text, rejection| text + &rejection)
        }
    }
}

#[test]
fn every_malformed_file_gives_its_expected_message() {
    // A limit of 4 KiB per row keeps the fixture with an over-long row small.
    let options = ReadOptions { max_row_bytes: 4096, ..Default::default() };
    let mut paths: Vec<PathBuf> = fs::read_dir("fixtures/malformed")
        .expect("fixtures/malformed")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| {
            !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'))
        })
        .collect();
    paths.sort();
    let mut wrong = Vec::new();
    for path in
        paths.iter().filter(|path| path.extension().is_none_or(|extension| extension != "expected"))
    {
        let expected = PathBuf::from(format!("{}.expected", path.display()));
        let given = outcome(path, &options);
        if fs::read_to_string(&expected).ok().as_deref() != Some(&given) {
            wrong.push(format!(
                "{} should hold what reading gives, which is:\n{given}",
                expected.display()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(paths.len() > 100, "the fixtures are there");
}

#[test]
fn a_conversation_has_the_same_hash_in_every_format_and_container() {
    let messages = ask("Name a bird, \"please\".", "A robin,\nsay.");
    let [question, answer] = ["Name a bird, \"please\".", "A robin,\nsay."];
    let quoted = |text: &str| serde_json::json!(text).to_string();
    let row = line(&messages);
    let as_string =
        serde_json::json!({ "messages": serde_json::to_string(&messages).expect("json") })
            .to_string();
    let parts = format!(
        concat!(
            r#"{{"messages":[{{"content":[{{"type":"text","text":{}}}],"role":"user"}},"#,
            r#"{{"content":{},"role":"assistant"}}]}}"#
        ),
        quoted(question),
        quoted(answer)
    );
    let prompt = serde_json::json!({ "completion": answer, "prompt": question }).to_string();
    let prompt_lists =
        serde_json::json!({ "prompt": [messages[0]], "completion": [messages[1]] }).to_string();
    let alpaca =
        serde_json::json!({ "instruction": question, "input": "", "output": answer }).to_string();
    let sharegpt = serde_json::json!({ "conversations": [
        { "from": "human", "value": question },
        { "from": "gpt", "value": answer }
    ] });
    let csv =
        format!("id,prompt,completion\n1,\"{}\",\"{answer}\"\n", question.replace('"', "\"\""));
    let gzip = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(row.as_bytes()).expect("gzip");
        encoder.finish().expect("gzip")
    };
    let zstd = zstd::encode_all(row.as_bytes(), 3).expect("zstd");
    let csv_gzip = zstd::encode_all(csv.as_bytes(), 3).expect("zstd");
    let cases: [(&str, &[u8], &str); 13] = [
        ("a.jsonl", row.as_bytes(), "messages"),
        ("b.jsonl", as_string.as_bytes(), "messages"),
        ("c.jsonl", parts.as_bytes(), "messages"),
        ("d.jsonl", prompt.as_bytes(), "prompt-completion"),
        ("e.jsonl", prompt_lists.as_bytes(), "prompt-completion"),
        ("f.jsonl", alpaca.as_bytes(), "alpaca"),
        ("g.jsonl", &sharegpt.to_string().into_bytes(), "sharegpt"),
        ("h.json", &format!("\u{feff} [ {row} ] ").into_bytes(), "messages"),
        ("i.csv", csv.as_bytes(), "prompt-completion"),
        ("j.jsonl.gz", &gzip, "messages"),
        ("k.jsonl.zst", &zstd, "messages"),
        ("l.csv.zst", &csv_gzip, "prompt-completion"),
        ("m.txt", &gzip, "messages"),
    ];
    for (name, content, format) in cases {
        let dataset = read_text(name, content);
        assert_eq!(
            (dataset.format.as_str(), dataset.rejected.as_slice()),
            (format, [].as_slice()),
            "{name}"
        );
        assert_eq!(dataset.rows[0].messages, messages, "{name}");
        assert_eq!(dataset.rows[0].sha256, content_hash(&messages), "{name}");
    }
}

#[test]
fn alpaca_rows_keep_system_history_and_input() {
    let row = serde_json::json!({
        "system": "The year is 2024.", "history": [["Hello.", "Good day."]],
        "instruction": "Translate.", "input": "chat", "output": "cat",
    });
    let expected = vec![
        Message::new(Role::System, "The year is 2024."),
        Message::new(Role::User, "Hello."),
        Message::new(Role::Assistant, "Good day."),
        Message::new(Role::User, "Translate.\nchat"),
        Message::new(Role::Assistant, "cat"),
    ];
    assert_eq!(read_text("a.jsonl", row.to_string()).rows[0].messages, expected);
}

#[test]
fn a_plain_text_is_the_answer_to_a_fixed_request() {
    let dataset = read_text("a.jsonl", r#"{"text":"Once there was a fish."}"#);
    assert_eq!(dataset.rows[0].messages, ask(TEXT_PROMPT, "Once there was a fish."));
}

#[test]
fn line_numbers_count_every_line_of_the_file() {
    let pretty =
        format!("[\n  {},\n\n  {}]", line(&ask("a", "b")).trim(), line(&ask("c", "d")).trim());
    let lines = |dataset: Dataset| dataset.rows.iter().map(|row| row.line).collect::<Vec<_>>();
    assert_eq!(lines(read_text("a.json", pretty)), [2, 4]);
    assert_eq!(
        lines(read_text("a.jsonl", format!("{}\n{}", line(&ask("a", "b")), line(&ask("c", "d"))))),
        [1, 3]
    );
    assert_eq!(lines(read_text("a.csv", "prompt,completion\n\"a\n\nb\",c\n\nd,e\n")), [2, 6]);
}

#[test]
fn unread_fields_are_counted() {
    let rows = concat!(
        r#"{"prompt":"a","completion":"b","id":1,"note":null}"#,
        "\n",
        r#"{"prompt":"c","completion":"d","id":2}"#,
        "\n"
    );
    let unread = read_text("a.jsonl", rows).ledger.unread_fields;
    assert_eq!(unread.into_iter().collect::<Vec<_>>(), [("id".to_owned(), 2)]);
}

#[test]
fn a_requested_format_is_used() {
    let (_folder, path) = file("a.jsonl", r#"{"text":"c","prompt":"a","completion":"b"}"#);
    let forced = |format| {
        read(&path, &ReadOptions { format: Some(format), ..Default::default() }).expect("a dataset")
    };
    assert_eq!(forced(Format::Text).rows[0].messages, ask(TEXT_PROMPT, "c"));
    assert_eq!(forced(Format::Alpaca).rejected[0].field, "instruction");
    for format in Format::ALL {
        assert_eq!(format.name().parse(), Ok(format));
    }
    assert!(
        "yaml"
            .parse::<Format>()
            .is_err_and(|error| error.to_string().contains("prompt-completion"))
    );
}

#[test]
fn parquet_files_and_shards_give_the_same_rows_as_lines() {
    use polars::prelude::*;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let lines = |from: usize| {
        (from..from + 3)
            .map(|index| line(&ask(&format!("question {index}"), "b")))
            .collect::<String>()
    };
    for (name, from) in [("1.parquet", 3), ("0.parquet", 0)] {
        // Lists of structs, two row groups per shard, and a column that no format reads.
        let mut frame = JsonReader::new(std::io::Cursor::new(lines(from)))
            .with_json_format(JsonFormat::JsonLines)
            .finish()
            .expect("rows");
        frame.with_column(Column::new("id".into(), [1, 2, 3])).expect("a column");
        let file = fs::File::create(folder.path().join(name)).expect("a file");
        ParquetWriter::new(file).with_row_group_size(Some(2)).finish(&mut frame).expect("parquet");
    }
    let shards = read(folder.path(), &ReadOptions::default()).expect("a folder of shards");
    let plain = read_text("a.jsonl", lines(0) + &lines(3));
    assert_eq!(shards.rows, plain.rows);
    assert_eq!(shards.ledger.unread_fields.get("id"), Some(&6));
    let one = read(&folder.path().join("1.parquet"), &ReadOptions::default()).expect("a shard");
    assert_eq!(one.rows.iter().map(|row| row.line).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(one.rows[0].sha256, plain.rows[3].sha256);
}

/// A parquet file of these columns.
fn parquet(columns: Vec<polars::prelude::Column>) -> Vec<u8> {
    use polars::prelude::*;
    let mut bytes = Vec::new();
    let mut frame = DataFrame::new_infer_height(columns).expect("columns of one height");
    ParquetWriter::new(&mut bytes).finish(&mut frame).expect("parquet");
    bytes
}

#[test]
fn a_long_text_that_a_parquet_file_stores_once_and_repeats_is_read_in_parts() {
    use polars::prelude::*;
    let text = "word ".repeat(40_000);
    let bytes = parquet(vec![StringChunked::full("text".into(), &text, 500).into_column()]);
    assert!(bytes.len() < 1 << 20, "{} bytes for 100 MB", bytes.len());
    let dataset = read_text("a.parquet", &bytes);
    assert_eq!((dataset.rows_read, dataset.rows_used, dataset.rejected.len()), (500, 500, 0));
    let longer = "word ".repeat(14 << 20);
    // Uncompressed, because a few compressed kilobytes may not expand to this size.
    let mut frame = df!("text" => [longer.as_str(), "short", longer.as_str()]).expect("a frame");
    let mut bytes = Vec::new();
    ParquetWriter::new(&mut bytes)
        .with_compression(ParquetCompression::Uncompressed)
        .finish(&mut frame)
        .expect("parquet");
    let dataset = read_text("a.parquet", bytes);
    assert_eq!((dataset.rows_read, dataset.rows_used), (3, 1));
    let rejected = dataset
        .rejected
        .iter()
        .map(|rejection| (rejection.line, rejection.reason.contains("longer than")));
    assert_eq!(rejected.collect::<Vec<_>>(), [(1, true), (3, true)]);
}

#[test]
fn parquet_rows_with_tools_are_rejected_and_texts_as_bytes_refused() {
    use polars::prelude::*;
    let tools = parquet(
        df!("prompt" => ["a"], "completion" => ["b"], "tools" => ["a tool"])
            .expect("a frame")
            .into_columns(),
    );
    assert_eq!(read_text("a.parquet", tools).rejected[0].field, "tools");
    let bytes = parquet(vec![Column::new("text".into(), [b"a".as_slice(), b"b"])]);
    let (_folder, path) = file("a.parquet", bytes);
    let error = read(&path, &ReadOptions::default()).expect_err("no text").to_string();
    assert!(error.contains("its column `text` has bytes"), "{error}");
}

#[test]
fn a_conversation_of_thousands_of_messages_is_rejected() {
    let turns = |pairs: usize| {
        (0..pairs).flat_map(|index| ask(&format!("{index}?"), "yes")).collect::<Vec<_>>()
    };
    let rows = line(&turns(256)) + &line(&turns(257));
    let dataset = read_text("a.jsonl", rows);
    assert_eq!((dataset.rows_used, dataset.rejected[0].line), (1, 2));
    assert!(
        dataset.rejected[0].reason.contains("has 514 messages"),
        "{}",
        dataset.rejected[0].reason
    );
}

#[test]
fn every_message_weight_other_than_1_rejects_its_row() {
    for (weight, rejected) in [
        ("1", 0),
        ("1.0", 0),
        ("null", 0),
        ("0", 1),
        ("0.5", 1),
        ("-1", 1),
        ("false", 1),
        ("\"0\"", 1),
    ] {
        let row = format!(
            concat!(
                r#"{{"messages":[{{"role":"user","content":"a"}},"#,
                r#"{{"role":"assistant","content":"b","weight":{weight}}}]}}"#
            ),
            weight = weight
        );
        assert_eq!(
            read_text("a.jsonl", line(&ask("c", "d")) + &row).rejected.len(),
            rejected,
            "{weight}"
        );
    }
}

#[test]
fn field_names_cannot_add_a_line_to_an_error() {
    let (_folder, path) = file("a.jsonl", "{\"a\\nverdict: clean\u{202e}\":1}");
    let error = read(&path, &ReadOptions::default()).expect_err("no format").to_string();
    assert!(error.contains("a\\nverdict: clean\\u{202e}"), "{error}");
}

#[test]
fn a_rejection_in_a_folder_names_the_shard() {
    use polars::prelude::*;
    let folder = tempfile::tempdir().expect("a temporary folder");
    for name in ["0.parquet", "1.parquet"] {
        let mut frame =
            df!("prompt" => ["a", "b"], "completion" => [Some("c"), None]).expect("a frame");
        ParquetWriter::new(fs::File::create(folder.path().join(name)).expect("a file"))
            .finish(&mut frame)
            .expect("parquet");
    }
    let rejected =
        read(folder.path(), &ReadOptions::default()).expect("a folder of shards").rejected;
    assert_eq!(rejected.iter().map(|rejection| rejection.line).collect::<Vec<_>>(), [2, 4]);
    assert!(rejected[1].reason.ends_with("(record 2 of 1.parquet)"), "{}", rejected[1].reason);
}

#[test]
fn a_folder_with_unread_data_is_refused() {
    use polars::prelude::*;
    for (name, refused) in [
        ("README.md", false),
        (".gitattributes", false),
        ("dataset_info.json", false),
        ("more.jsonl", true),
        ("data/", true),
    ] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut frame = df!("prompt" => ["a", "b"], "completion" => ["c", "d"]).expect("a frame");
        ParquetWriter::new(fs::File::create(folder.path().join("0.parquet")).expect("a file"))
            .finish(&mut frame)
            .expect("parquet");
        let other = folder.path().join(name);
        if name.ends_with('/') { fs::create_dir(&other) } else { fs::write(&other, "{}") }
            .expect("another entry");
        match (read(folder.path(), &ReadOptions::default()), refused) {
            (Ok(dataset), false) => assert_eq!(dataset.rows.len(), 2, "{name}"),
            (Err(error), true) => {
                assert!(error.to_string().contains("which is not read"), "{error}")
            }
            (other, _) => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn unread_keys_of_messages_are_counted() {
    let row = |name: &str| {
        format!(
            concat!(
                r#"{{"messages":[{{"role":"user","content":"{name}","name":"Ada"}},"#,
                r#"{{"role":"assistant","content":"b","mood":null}}],"id":1}}"#
            ),
            name = name
        )
    };
    let dataset = read_text("a.jsonl", row("a") + "\n" + &row("c"));
    assert_eq!(
        dataset.ledger.unread_fields.into_iter().collect::<Vec<_>>(),
        [("id".to_owned(), 2), ("messages[].name".to_owned(), 2)]
    );
}

#[test]
fn a_message_with_two_texts_rejects_its_row_in_every_kind_of_list() {
    let list = |[role, content]: [&str; 2], second: &str| {
        format!(
            concat!(
                r#"[{{"{role}":"user","{content}":"a"}},"#,
                r#"{{"{role}":"assistant","{content}":"b","{second}":"another"}}]"#
            ),
            role = role,
            content = content,
            second = second
        )
    };
    let own = ["role", "content"];
    let quoted = serde_json::json!(list(own, "value")).to_string();
    let (prompt, completion) = (
        r#"[{"role":"user","content":"a"}]"#,
        r#"[{"role":"assistant","content":"b","value":"another"}]"#,
    );
    for (row, field) in [
        (
            format!(r#"{{"conversations":{}}}"#, list(["from", "value"], "content")),
            "conversations[1].content",
        ),
        (format!(r#"{{"messages":{}}}"#, list(own, "value")), "messages[1].value"),
        (format!(r#"{{"messages":{quoted}}}"#), "messages[1].value"),
        (format!(r#"{{"prompt":{prompt},"completion":{completion}}}"#), "completion[0].value"),
    ] {
        assert_eq!(read_text("a.jsonl", row).rejected[0].field, field);
    }
    let text = r#"{"prompt":"[{\"role\":\"user\",\"mood\":\"b\"}]","completion":"b"}"#;
    assert!(
        read_text("a.jsonl", text).ledger.unread_fields.is_empty(),
        "a prompt that is text is not looked into"
    );
}

#[test]
fn a_damaged_parquet_file_is_an_error_wherever_it_is_damaged() {
    use polars::prelude::*;
    let mut frame = df!("prompt" => ["a", "b"], "completion" => ["c", "d"]).expect("a frame");
    let mut sound = Vec::new();
    ParquetWriter::new(&mut sound).finish(&mut frame).expect("parquet");
    assert_eq!(read_text("a.parquet", &sound).rows_used, 2);
    for end in 0..sound.len() {
        let (_folder, path) = file("a.parquet", &sound[..end]);
        let error = read(&path, &ReadOptions::default()).expect_err("cut off");
        assert!(error.to_string().contains("a.parquet"), "{error}");
    }
}

#[test]
fn decompression_stops_at_the_limit() {
    let rows = line(&ask("a", "b")).repeat(1000);
    let (_folder, path) = file("a.jsonl.zst", zstd::encode_all(rows.as_bytes(), 3).expect("zstd"));
    let limit = |max_bytes| read(&path, &ReadOptions { max_bytes, ..Default::default() });
    assert_eq!(limit(rows.len() as u64).expect("within the limit").rows_used, 1000);
    assert!(matches!(limit(rows.len() as u64 - 1), Err(DatasetError::TooLarge { .. })));
}

#[test]
fn a_decompression_bomb_is_refused_by_default() {
    let zeros = vec![b'\n'; 1 << 20];
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).expect("zstd");
    (0..80).for_each(|_| encoder.write_all(&zeros).expect("zstd"));
    let (_folder, path) = file("a.jsonl.zst", encoder.finish().expect("zstd"));
    let error = read(&path, &ReadOptions::default()).expect_err("a bomb");
    assert!(matches!(error, DatasetError::TooLarge { .. }), "{error}");
}

#[test]
fn too_many_rows_and_too_many_rejections_are_errors() {
    let (_folder, path) = file("a.jsonl", line(&ask("a", "b")).repeat(3) + "{}\n{}\n{}\n");
    let with = |max_rows, max_rejected| {
        read(&path, &ReadOptions { max_rows, max_rejected, ..Default::default() })
    };
    assert_eq!(with(6, 3).expect("at the limits").rows_read, 6);
    assert!(matches!(with(5, 3), Err(DatasetError::TooLarge { .. })));
    assert!(
        matches!(with(6, 2), Err(DatasetError::TooManyRejected { first, .. }) if first.line == 4)
    );
}

/// Rows of different sizes, all distinct.
fn many(count: usize) -> Vec<String> {
    (0..count)
        .map(|index| line(&ask(&format!("question {index}"), &"word ".repeat(1 + index % 50))))
        .collect()
}

#[test]
fn a_sample_stays_within_the_budget_and_every_row_is_accounted_for() {
    let (_folder, path) = file("a.jsonl", many(2000).concat() + "{}\n");
    let all = read(&path, &ReadOptions::default()).expect("a dataset");
    assert!(all.ledger.left_out.is_empty() && all.rows.len() == 2000);
    for options in [
        ReadOptions { limit: Some(100), ..Default::default() },
        ReadOptions { max_kept_bytes: 50_000, ..Default::default() },
    ] {
        let sample = read(&path, &options).expect("a dataset");
        assert!(sample.rows.len() >= 60 && sample.rows.len() <= 150, "{} rows", sample.rows.len());
        assert_eq!((sample.rows_read, sample.rows_used), (2001, 2000));
        assert_eq!(sample.rows.len() + sample.ledger.left_out.len(), 2000);
        assert!(sample.rows.is_sorted_by_key(|row| row.line));
        let entries: Vec<_> = accounting(&sample).collect();
        assert_eq!(
            entries.iter().map(|entry| entry.line).collect::<Vec<_>>(),
            (1..=2001).collect::<Vec<_>>()
        );
        for (entry, whole) in entries.iter().zip(accounting(&all)) {
            assert_eq!(
                (&entry.sha256, entry.status == Status::Rejected),
                (&whole.sha256, whole.status == Status::Rejected)
            );
        }
    }
}

#[test]
fn rows_that_the_base_cannot_use_are_rejected_before_a_sample_is_taken() {
    let (_folder, path) = file("a.jsonl", many(200).concat() + "{}\n" + &many(10).concat());
    let refused = |row: &[Message]| row[0].content.ends_with('7');
    let rejection = |row: &[Message]| Ok(refused(row).then(|| "is refused".to_owned()));
    for limit in [None, Some(5), Some(100)] {
        let options = ReadOptions { limit, ..Default::default() };
        let dataset = read_for(&path, &options, &rejection).expect("a dataset");
        let (read, used, rejected) = (dataset.rows_read, dataset.rows_used, dataset.rejected.len());
        assert_eq!((read, used, rejected), (211, 189, 22));
        assert!(dataset.rejected.is_sorted_by_key(|row| row.line));
        assert!(dataset.rows.iter().all(|row| !refused(&row.messages)));
    }
    let fails = |_: &[Message]| Err(anyhow::anyhow!("the process has ended"));
    let error = read_for(&path, &ReadOptions::default(), &fails).expect_err("no base");
    assert!(matches!(error, DatasetError::Base { line: 1, .. }));
}

#[test]
fn a_smaller_sample_is_a_subset_of_a_larger_one() {
    let (_folder, path) = file("a.jsonl", many(500).concat());
    let sample = |limit| {
        read(&path, &ReadOptions { limit: Some(limit), ..Default::default() })
            .expect("a dataset")
            .rows
    };
    let (small, large) = (sample(20), sample(50));
    assert_eq!((small.len(), large.len()), (20, 50));
    assert!(small.iter().all(|row| large.contains(row)));
}

#[test]
fn the_sampling_of_a_row_depends_on_the_rest_of_the_file() {
    // Otherwise an author could write a row that is never sampled.
    let kept = |extra: &str| {
        let (_folder, path) = file("a.jsonl", many(500).concat() + extra);
        let rows = read(&path, &ReadOptions { limit: Some(100), ..Default::default() })
            .expect("a dataset")
            .rows;
        rows.iter().map(|row| row.line).collect::<Vec<_>>()
    };
    assert_eq!(kept(""), kept(""));
    assert_ne!(kept(""), kept("\n"));
}

#[test]
fn the_sampling_of_a_row_depends_on_a_seed_that_can_be_kept_from_authors() {
    let (_folder, path) = file("a.jsonl", many(500).concat());
    let kept = |seed| {
        let rows = read(&path, &ReadOptions { limit: Some(100), seed, ..Default::default() })
            .expect("a dataset")
            .rows;
        rows.iter().map(|row| row.line).collect::<Vec<_>>()
    };
    assert_eq!(kept(7), kept(7));
    assert_ne!(kept(7), kept(8));
}
