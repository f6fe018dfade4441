//! Facts about parquet files that declare more than they contain.

use std::process::Command;

use polars::prelude::Column;
use polars_parquet_format::thrift::protocol::{
    TCompactInputProtocol, TCompactOutputProtocol, TOutputProtocol,
};
use polars_parquet_format::{
    ColumnChunk, ColumnMetaData, CompressionCodec, ConvertedType, DataPageHeader, Encoding,
    FieldRepetitionType, FileMetaData, PageHeader, PageType, RowGroup, SchemaElement, Type,
};

use super::{file, parquet};
use foretaste::dataset::{DatasetError, ReadOptions, read};

/// A node of a schema: a group of `children` nodes, or a text column if `children` is 0.
fn node(name: &str, children: i32) -> SchemaElement {
    SchemaElement {
        type_: (children == 0).then_some(Type::BYTE_ARRAY),
        type_length: None,
        repetition_type: Some(FieldRepetitionType::OPTIONAL),
        name: name.to_owned(),
        num_children: (children > 0).then_some(children),
        converted_type: (children == 0).then_some(ConvertedType::UTF8),
        scale: None,
        precision: None,
        field_id: None,
        logical_type: None,
    }
}

/// What the page header and the footer declare for a column `text` with one zstd page.
struct Declared {
    page_bytes: i32,
    page_values: i32,
    encoding: Encoding,
}

/// A parquet file whose footer declares small sizes, whatever its page header declares.
fn understated(declared: &Declared) -> Vec<u8> {
    let mut bytes = b"PAR1".to_vec();
    let payload = zstd::encode_all([0; 16].as_slice(), 1).expect("zstd");
    let header = PageHeader {
        type_: PageType::DATA_PAGE,
        uncompressed_page_size: declared.page_bytes,
        compressed_page_size: payload.len() as i32,
        crc: None,
        data_page_header: Some(DataPageHeader {
            num_values: declared.page_values,
            encoding: declared.encoding,
            definition_level_encoding: Encoding::RLE,
            repetition_level_encoding: Encoding::RLE,
            statistics: None,
        }),
        index_page_header: None,
        dictionary_page_header: None,
        data_page_header_v2: None,
    };
    header.write_to_out_protocol(&mut TCompactOutputProtocol::new(&mut bytes)).expect("a header");
    bytes.extend(&payload);
    let chunk = ColumnMetaData {
        type_: Type::BYTE_ARRAY,
        encodings: vec![Encoding::PLAIN],
        path_in_schema: vec!["text".to_owned()],
        codec: CompressionCodec::ZSTD,
        num_values: 1,
        total_uncompressed_size: 1,
        total_compressed_size: bytes.len() as i64 - 4,
        key_value_metadata: None,
        data_page_offset: 4,
        index_page_offset: None,
        dictionary_page_offset: None,
        statistics: None,
        encoding_stats: None,
        bloom_filter_offset: None,
        bloom_filter_length: None,
        size_statistics: None,
    };
    let column = ColumnChunk {
        file_path: None,
        file_offset: 4,
        meta_data: Some(chunk),
        offset_index_offset: None,
        offset_index_length: None,
        column_index_offset: None,
        column_index_length: None,
        crypto_metadata: None,
        encrypted_column_metadata: None,
    };
    let group = RowGroup {
        columns: vec![column],
        total_byte_size: 1,
        num_rows: 1,
        sorting_columns: None,
        file_offset: None,
        total_compressed_size: None,
        ordinal: None,
    };
    end(bytes, vec![node("schema", 1), node("text", 0)], vec![group])
}

/// The file with its footer and end mark.
fn end(mut bytes: Vec<u8>, schema: Vec<SchemaElement>, row_groups: Vec<RowGroup>) -> Vec<u8> {
    let start = bytes.len();
    let metadata = FileMetaData {
        version: 1,
        schema,
        num_rows: row_groups.len() as i64,
        row_groups,
        key_value_metadata: None,
        created_by: None,
        column_orders: None,
        encryption_algorithm: None,
        footer_signing_key_metadata: None,
    };
    let mut protocol = TCompactOutputProtocol::new(&mut bytes);
    metadata.write_to_out_protocol(&mut protocol).expect("a footer");
    protocol.flush().expect("a footer");
    let length = (bytes.len() - start) as u32;
    bytes.extend(length.to_le_bytes());
    bytes.extend(b"PAR1");
    bytes
}

fn error(bytes: Vec<u8>) -> DatasetError {
    let (_folder, path) = file("a.parquet", bytes);
    read(&path, &ReadOptions::default()).expect_err("a hostile file")
}

#[test]
fn pages_that_declare_gigabytes_are_refused_whatever_the_footer_says() {
    let declared = |page_bytes, page_values, encoding| {
        error(understated(&Declared { page_bytes, page_values, encoding }))
    };
    for (page_bytes, page_values, encoding) in [
        (i32::MAX, 1, Encoding::PLAIN),
        (1, i32::MAX, Encoding::PLAIN),
        // Each value is as long as the page.
        (1 << 20, 1 << 20, Encoding::DELTA_BYTE_ARRAY),
    ] {
        let error = declared(page_bytes, page_values, encoding);
        assert!(
            matches!(error, DatasetError::TooLarge { .. }),
            "{page_bytes} {page_values}: {error}"
        );
    }
    // A page that declares little is read until the damage is found.
    assert!(matches!(declared(16, 1, Encoding::PLAIN), DatasetError::Unreadable { .. }));
}

#[test]
fn row_groups_that_share_pages_count_each_time() {
    let text = "word ".repeat(80_000);
    let mut whole = parquet(vec![Column::new("text".into(), [text])]);
    let footer = whole.len()
        - 8
        - u32::from_le_bytes(whole[whole.len() - 8..][..4].try_into().expect("four bytes"))
            as usize;
    let mut protocol = TCompactInputProtocol::new(&whole[footer..], usize::MAX);
    let metadata = FileMetaData::read_from_in_protocol(&mut protocol).expect("a footer");
    whole.truncate(footer);
    let file_of = |groups: usize| {
        end(whole.clone(), metadata.schema.clone(), vec![metadata.row_groups[0].clone(); groups])
    };
    let read_file = |groups: usize| {
        let (_folder, path) = file("a.parquet", file_of(groups));
        read(&path, &ReadOptions { max_bytes: 1_000_000, ..Default::default() })
    };
    assert!(matches!(read_file(2), Ok(dataset) if dataset.rows_used == 2));
    assert!(matches!(read_file(3), Err(DatasetError::TooLarge { .. })));
}

#[test]
fn a_deep_or_wide_schema_is_refused_before_it_is_traversed() {
    let deep = |levels: usize| {
        let groups = (0..levels).map(|level| node(&format!("g{level}"), 1));
        [node("schema", 1)].into_iter().chain(groups).chain([node("text", 0)]).collect::<Vec<_>>()
    };
    let wide = |columns: i32| {
        [node("schema", columns)]
            .into_iter()
            .chain((0..columns).map(|column| node(&column.to_string(), 0)))
            .collect::<Vec<_>>()
    };
    let refused = |schema| {
        matches!(error(end(b"PAR1".to_vec(), schema, Vec::new())), DatasetError::Unreadable { .. })
    };
    assert!(refused(deep(100)) && refused(deep(20_000)) && refused(wide(20_000)));
    // Other schemas are read; these have no columns of a dataset.
    assert!(!refused(deep(20)) && !refused(wide(1000)));
}

#[test]
fn a_file_on_which_the_reader_panics_is_bad_input_and_prints_no_backtrace() {
    let output = Command::new(env!("CARGO_BIN_EXE_foretaste"))
        .args(["check", "fixtures/malformed/reader_panics.parquet"])
        .env("RUST_BACKTRACE", "1")
        .output()
        .expect("the binary runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(!stderr.contains("panicked") && stderr.lines().count() == 1, "{stderr}");
}
