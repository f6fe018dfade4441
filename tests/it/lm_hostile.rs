//! Tokenizers and chat templates that exhaust time or memory, or crash the process that runs them.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use foretaste::dataset::{Message, Role};
use foretaste::lm::chat::Chat;
use foretaste::lm::files::ModelFiles;
use rayon::ThreadPoolBuilder;
use rayon::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A copy of the nestling folder with some files changed.
fn base(change: impl FnOnce(&Path)) -> TempDir {
    let copy = TempDir::new().expect("a temporary folder");
    let nestling = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/nestling");
    for name in [
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "model.safetensors",
    ] {
        fs::copy(nestling.join(name), copy.path().join(name)).expect("nestling is committed");
    }
    change(copy.path());
    copy
}

fn with_template(template: &str) -> TempDir {
    base(|folder| {
        fs::write(folder.join("chat_template.jinja"), template).expect("the folder is writable")
    })
}

/// nestling with fields of its tokenizer changed.
fn with_tokenizer(changes: &Value) -> TempDir {
    base(|folder| {
        let path = folder.join("tokenizer.json");
        let text = fs::read_to_string(&path).expect("it was copied");
        let mut tokenizer: Value = serde_json::from_str(&text).expect("it is JSON");
        for (name, value) in changes.as_object().expect("changes are an object") {
            tokenizer[name] = value.clone();
        }
        fs::write(path, tokenizer.to_string()).expect("the folder is writable");
    })
}

/// `foretaste check` of two rows, in 6 GB of address space.
fn check(base: &Path) -> Output {
    let rows = [["Name a bird.", "A heron."], ["And another?", "The eel."]];
    let row = |[user, assistant]: &[&str; 2]| {
        let row = json!({"messages": [
            {"role": "user", "content": user},
            {"role": "assistant", "content": assistant}
        ]});
        format!("{row}\n")
    };
    let data = base.join("data.jsonl");
    fs::write(&data, rows.iter().map(row).collect::<String>()).expect("the folder is writable");
    let mut command = Command::new("timeout");
    command.args([
        "20",
        "sh",
        "-c",
        "ulimit -v 6000000; exec \"$@\"",
        "sh",
        env!("CARGO_BIN_EXE_foretaste"),
        "check",
    ]);
    command
        .arg(data)
        .arg("--base")
        .arg(base)
        .env("RAYON_NUM_THREADS", "1")
        .output()
        .expect("the binary runs")
}

/// The exit code of a check. Asserts that it ends by itself within 20 seconds, with a result or
/// with a one-line error and code 3.
fn ends(name: &str, base: &Path) -> i32 {
    let output = check(base);
    let stderr = String::from_utf8_lossy(&output.stderr);
    let code =
        output.status.code().unwrap_or_else(|| panic!("{name}: {:?}\n{stderr}", output.status));
    assert!(
        code == 3 && stderr.starts_with("foretaste: ") && stderr.lines().count() == 1 || code == 0,
        "{name}: {code}\n{stderr}"
    );
    code
}

/// Named templates that once exhausted a resource or crashed the process.
fn templates() -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = Vec::new();
    let mut add = |name: &str, template: String| all.push((name.to_owned(), template));
    // Chains and nests of 20,000, which use up the stack of the parser or the compiler.
    let many = 20_000;
    for link in [
        "+1",
        "-1",
        "*1",
        "/1",
        "//1",
        "%1",
        "**1",
        "~1",
        "<1",
        "==1",
        " in 1",
        " and 1",
        " or 1",
        ".a",
        "[0]",
        "|string",
        "()",
        " is string",
        " if 1 else 1",
    ] {
        add(link, format!("{{{{ 1{} }}}}", link.repeat(many)));
    }
    for (open, close) in [
        ("[", "]"),
        ("(", ")"),
        ("{1:", "}"),
        ("not ", ""),
        ("-", ""),
        ("a(", ")"),
        ("1+(", ")"),
        ("a[", "]"),
        ("a(b=", ")"),
    ] {
        add(open, format!("{{{{ {}1{} }}}}", open.repeat(many), close.repeat(many)));
    }
    for (open, close) in [
        ("{% if a %}", "{% endif %}"),
        ("{% for a in b %}", "{% endfor %}"),
        ("{% set a %}", "{% endset %}"),
        ("{% macro a() %}", "{% endmacro %}"),
        ("{% call a() %}", "{% endcall %}"),
        ("{% filter upper %}", "{% endfilter %}"),
        ("{% generation %}", "{% endgeneration %}"),
    ] {
        add(open, open.repeat(many) + &close.repeat(many));
    }
    add("elif", format!("{{% if a %}}{}{{% endif %}}", "{% elif a %}".repeat(many)));
    // A value that contains itself.
    let own = "{% set n = namespace() %}{% set n.a = n %}";
    let other = "{% set m = namespace() %}{% set m.a = m %}";
    let list = "{% set n = namespace() %}{% set n.a = [n, {'b': n}] %}";
    for use_ in [
        "{{ n }}",
        "{{ n ~ '' }}",
        "{{ n|string }}",
        "{{ n|tojson }}",
        "{{ n|tojson(sort_keys=true) }}",
        "{{ [n]|join }}",
        "{{ '%s'|format(n) }}",
        "{{ '{}'.format(n) }}",
        "{{ {n: 1} }}",
        "{{ [n, n]|unique }}",
        "{{ n.a|items }}",
        "{{ raise_exception(n) }}",
        "{{ n.nothing.at.all }}",
        "{{ n + 1 }}",
    ] {
        add(&format!("itself {use_}"), format!("{own}{use_}"));
        add(&format!("itself in a list {use_}"), format!("{list}{use_}"));
    }
    for use_ in [
        "{{ n == m }}",
        "{{ n < m }}",
        "{{ n in [m] }}",
        "{{ [n, m]|sort }}",
        "{{ [n, m]|unique }}",
        "{{ [n, m]|max }}",
        "{{ {n: 1}[m] }}",
    ] {
        add(&format!("two that hold themselves {use_}"), format!("{own}{other}{use_}"));
    }
    // Lists and texts that double in size.
    let double = "{% set n = namespace(a=[1], b=[1]) %}{% for i in range(40) %}{% set n.a = [n.a, \
                  n.a] %}{% set n.b = [n.b, n.b] %}{% endfor %}";
    for use_ in ["{{ n.a == n.b }}", "{{ n.a }}", "{{ n.a|length > n.b }}"] {
        add(&format!("doubling {use_}"), format!("{double}{use_}"));
    }
    for grown in [
        "n.a ~ n.a",
        "n.a + n.a",
        "n.a * 2",
        "n.a.replace('x', 'xx')",
        "[n.a, n.a]|join",
        "n.a|format ~ n.a",
    ] {
        add(
            grown,
            format!(
                "{{% set n = namespace(a='x') %}}{{% for i in range(60) %}}{{% set n.a = {grown} \
                 %}}{{% endfor %}}{{{{ n.a }}}}"
            ),
        );
    }
    for large in [
        "{{ '{:>1000000000}'.format(1) }}",
        "{{ '{:.1000000000f}'.format(1.5) }}",
        "{{ '%1000000000d'|format(1) }}",
        "{{ '%.1000000000f'|format(1.5) }}",
        "{{ 'x' * 1000000000 }}",
        "{{ [1] * 1000000000 }}",
        "{{ ([1] * 1000000000)|list|length }}",
        "{{ range(1000000000)|list|length }}",
        "{% for i in range(1000000000) %}{% endfor %}",
        "{{ 'x'|center(1000000000) }}",
        "{{ 'x'.center(1000000000) }}",
        "{{ 'x'.ljust(1000000000) }}",
        "{{ 'x'.zfill(1000000000) }}",
        "{{ '\n\n'|indent(1000000000) }}",
        "{{ 'x'|indent('x' * 10000000, true) }}",
        "{{ [1]|batch(1000000000, 0) }}",
        "{{ [1]|slice(1000000000) }}",
        "{{ [[1]]|tojson(indent=1000000000) }}",
        "{{ ('x' * 1000000)|wordwrap(1) }}",
        "{{ 2 ** 1000000000 }}",
        "{{ ('x' * 1000000).replace('', 'y' * 1000000) }}",
        "{{ ('x' * 1000000).split('') }}",
        "{{ ('x,' * 1000000).split(',')|join('x' * 1000000) }}",
        "{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}",
        "{% macro a(b) %}{{ b(b) }}{% endmacro %}{{ a(a) }}",
        "{% include 'chat' %}",
        "{% extends 'chat' %}",
        "{% import 'chat' as c %}",
        "{% for i in [1] recursive %}{{ loop([1]) }}{% endfor %}",
        "{% for a in range(1000) %}{% for b in range(1000) %}{% for c in range(1000) %}x{% endfor \
         %}{% endfor %}{% endfor %}",
    ] {
        add(large, large.to_owned());
    }
    all
}

#[test]
fn no_template_crashes_or_stalls_the_process_that_uses_it() {
    let program = Path::new(env!("CARGO_BIN_EXE_foretaste"));
    let row = [Message::new(Role::User, "Name a bird."), Message::new(Role::Assistant, "A heron.")];
    // Most of the time is spent waiting for templates that hang.
    let threads = ThreadPoolBuilder::new().num_threads(16).build().expect("threads");
    let try_one = |(name, template): &(String, String)| {
        let folder = with_template(template);
        let files = ModelFiles::open(Some(folder.path())).expect("a folder");
        // The test passes if this thread gets past this call.
        let rendered =
            Chat::read_sandboxed(&files, None, program).and_then(|chat| chat.encode(&row));
        assert!(
            rendered.is_err() || rendered.is_ok_and(|rendered| rendered.tokens.len() <= 16 << 20),
            "{name}"
        );
    };
    threads.install(|| templates().par_iter().for_each(try_one));
}

#[test]
fn a_template_that_crashes_its_process_or_takes_too_long_is_bad_input() {
    for template in [
        "{% set ns = namespace() %}{% set ns.a = ns %}{{ ns }}",
        "{% set n = namespace(a=[1], b=[1]) %}{% for i in range(40) %}{% set n.a = [n.a, n.a] \
         %}{% set n.b = [n.b, n.b] %}{% endfor %}{{ n.a == n.b }}",
        "{{ '{:>1000000000}'.format(1) }}",
    ] {
        assert_eq!(ends(template, with_template(template).path()), 3, "{template}");
    }
}

#[test]
fn a_template_that_crashes_on_one_row_only_is_bad_input() {
    let template = "{% for m in messages %}{{ m.content }}<|im_end|>{% if 'heron' in m.content \
                    %}{% set ns = namespace() %}{% set ns.a = ns %}{{ ns }}{% endif %}{% endfor \
                    %}";
    assert_eq!(ends("heron", with_template(template).path()), 3);
}

#[test]
fn no_tokenizer_crashes_the_process_that_uses_it() {
    let replace = |pattern: &str, content: &str| {
        let pattern = json!({"String": pattern});
        json!({"type": "Replace", "pattern": pattern, "content": content})
    };
    let laughs = vec![replace("e", &"e".repeat(10)); 9];
    let repeated = json!({"type": "Sequence", "normalizers": laughs});
    for (name, changes) in [
        ("a normalizer that grows text", json!({"normalizer": repeated})),
        ("a pattern that is everywhere", json!({"normalizer": replace("", "xx")})),
        (
            "a large table",
            json!({"normalizer": {"type": "Precompiled", "precompiled_charsmap": "/////////w=="}}),
        ),
        ("a length of zero", json!({"pre_tokenizer": {"type": "FixedLength", "length": 0}})),
        (
            "a decoder that grows text",
            json!({"decoder": {
                "type": "Sequence", "decoders": vec![replace("e", &"e".repeat(10)); 9]
            }}),
        ),
    ] {
        ends(name, with_tokenizer(&changes).path());
    }
}

#[test]
fn tokenising_in_a_separate_process_gives_the_same_result() {
    let folder = base(|_| ());
    let files = ModelFiles::open(Some(folder.path())).expect("a folder");
    let here = Chat::read(&files, None).expect("nestling");
    let apart = Chat::read_sandboxed(&files, None, Path::new(env!("CARGO_BIN_EXE_foretaste")))
        .expect("nestling");
    assert_eq!((&here.end_tokens, here.highest_token), (&apart.end_tokens, apart.highest_token));
    let row = [
        Message::new(Role::User, "Name a bird."),
        Message::new(Role::Assistant, "A heron."),
        Message::new(Role::User, "é"),
    ];
    assert_eq!(
        here.encode(&row[..2]).expect("it encodes"),
        apart.encode(&row[..2]).expect("it encodes")
    );
    assert_eq!(
        here.render(&row, true).expect("it renders"),
        apart.render(&row, true).expect("it renders")
    );
    let prompt = apart.encode_prompt(&row).expect("it encodes");
    assert_eq!(here.encode_prompt(&row).expect("it encodes"), prompt);
    assert_eq!(
        here.decode(&prompt).expect("it decodes"),
        apart.decode(&prompt).expect("it decodes")
    );
    apart.alive().expect("it is there");
}
