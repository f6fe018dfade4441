//! Facts that hold in every container. A row counts each time it is repeated, on any line.

use std::path::PathBuf;

use foretaste::dataset::{Dataset, ReadOptions, accounting, content_hash, read};
use polars::prelude::*;
use proptest::prelude::*;

use super::{ask, file, line};

/// The same rows in each container.
fn containers(rows: &[(String, String)]) -> Vec<(&'static str, Vec<u8>)> {
    let objects: Vec<String> =
        rows.iter().map(|(prompt, answer)| line(&ask(prompt, answer)).trim().to_owned()).collect();
    let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    let csv = rows
        .iter()
        .map(|(prompt, answer)| format!("{},{}\n", quoted(prompt), quoted(answer)))
        .collect::<String>();
    let column = |name: &str, of: fn(&(String, String)) -> &String| {
        Column::new(name.into(), rows.iter().map(|row| of(row).as_str()).collect::<Vec<_>>())
    };
    let mut frame = DataFrame::new_infer_height(vec![
        column("prompt", |row| &row.0),
        column("completion", |row| &row.1),
    ])
    .expect("two columns");
    let mut parquet = Vec::new();
    ParquetWriter::new(&mut parquet)
        .with_row_group_size(Some(3))
        .finish(&mut frame)
        .expect("parquet");
    let lines = objects.join("\n");
    vec![
        ("lines.jsonl", lines.clone().into_bytes()),
        ("lines.jsonl.zst", zstd::encode_all(lines.as_bytes(), 1).expect("zstd")),
        ("one_line.json", format!("[{}]", objects.join(", ")).into_bytes()),
        ("pretty.json", format!("[\n  {}\n]\n", objects.join(",\n  ")).into_bytes()),
        (
            "two_a_line.json",
            format!(
                "[{}]",
                objects.chunks(2).map(|pair| pair.join(",")).collect::<Vec<_>>().join(",\n")
            )
            .into_bytes(),
        ),
        ("rows.csv", format!("prompt,completion\n{csv}").into_bytes()),
        ("rows.parquet", parquet),
    ]
}

/// The content hashes of all usable rows, sorted.
fn hashes(dataset: &Dataset) -> Vec<String> {
    let mut hashes: Vec<String> = accounting(dataset).filter_map(|entry| entry.sha256).collect();
    hashes.sort();
    hashes
}

fn read_file(name: &str, bytes: &[u8], options: &ReadOptions) -> Dataset {
    let (_folder, path): (_, PathBuf) = file(name, bytes);
    read(&path, options).unwrap_or_else(|error| panic!("{name}: {error}"))
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 60,
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn the_same_rows_in_every_container_have_the_same_hashes(
        // Few words, so that most rows are repeated.
        rows in proptest::collection::vec(("[ab\",]{0,1}[a\n]{0,1}b", "[xy]"), 1..24),
        limit in prop_oneof![Just(None), (0usize..12).prop_map(Some)],
    ) {
        let mut expected: Vec<String> =
            rows.iter().map(|(prompt, answer)| content_hash(&ask(prompt, answer))).collect();
        expected.sort();
        for (name, bytes) in containers(&rows) {
            let dataset = read_file(name, &bytes, &ReadOptions { limit, ..Default::default() });
            let (counts, count) = ((dataset.rows_read, dataset.rows_used), rows.len());
            prop_assert_eq!(counts, (count, count), "{}", name);
            let kept = count.min(limit.unwrap_or(usize::MAX));
            prop_assert_eq!(dataset.rows.len(), kept, "{}", name);
            prop_assert_eq!(&hashes(&dataset), &expected, "{}", name);
        }
    }
}

#[test]
fn a_limit_samples_equal_rows_of_one_line_independently() {
    // With one key for all of them, either all hundred rows would be sampled or none.
    let rows: Vec<(String, String)> = (0..200)
        .map(|row| if row < 100 { ("a".into(), "b".into()) } else { (row.to_string(), "c".into()) })
        .collect();
    let bytes = &containers(&rows)[2].1;
    let repeated = content_hash(&ask("a", "b"));
    let drawn =
        read_file("a.json", bytes, &ReadOptions { limit: Some(60), ..Default::default() }).rows;
    let drawn = drawn.iter().filter(|row| row.sha256 == repeated).count();
    assert!((15..=45).contains(&drawn), "{drawn} of 60");
}

#[test]
fn equal_rows_do_not_use_up_the_byte_budget() {
    let rows = vec![("a".to_owned(), "b".to_owned()); 2000];
    let bytes = &containers(&rows)[2].1;
    let dataset =
        read_file("a.json", bytes, &ReadOptions { max_kept_bytes: 100_000, ..Default::default() });
    assert_eq!((dataset.rows_read, dataset.rows_used), (2000, 2000));
    assert!(dataset.rows.len() > 200, "{}", dataset.rows.len());
}

#[test]
fn a_rejection_on_a_line_of_several_rows_names_the_row() {
    let dataset = read_file(
        "a.json",
        b"[{\"text\":\"a\"}, {\"text\":\"b\"}, {\"text\":\"\"}]",
        &ReadOptions::default(),
    );
    assert_eq!(dataset.rejected[0].line, 1);
    assert!(
        dataset.rejected[0].reason.ends_with("(row 3 of the file)"),
        "{}",
        dataset.rejected[0].reason
    );
}
