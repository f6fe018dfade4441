//! Facts about reports.

mod analysis;
mod browser;
mod example;
mod hostile;
mod png;
mod reasons;
pub mod schema;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use foretaste::analysis::Effect;
use foretaste::audit::ValueKey;
use foretaste::plan::{Arm, ContextKind, SkipReason, Skipped};
use foretaste::probe::Sample;
use foretaste::report::{SCHEMA, escape, html, json, junit, plots, sarif, summary_md, text};
use foretaste::verdict::Verdict;
use serde_json::Value;

use browser::{Browser, Listener};
use example::Example;
use hostile::hostile;

/// Text of an attacker who wants a report to run, load or hide something.
fn payload(address: &str) -> String {
    format!(
        "</title></style></script>\
         <script>document.title='owned';fetch('http://{address}/script')</script>\
         <img src=http://{address}/image onerror=\"document.title='owned'\">\
         <svg onload=\"document.title='owned'\">\
         </text></svg><link rel=stylesheet href=//{address}/css>\
         <style>@import url(http://{address}/import);\
         *{{background:url(http://{address}/background)}}</style>\
         <iframe src='javascript:parent.document.title=1'></iframe>\
         <meta http-equiv=refresh content='0;url=http://{address}/refresh'>\
         <base href=http://{address}/>\
         {{{{ 7*7 }}}}{{% raw %}}\" ' onmouseover=alert(1) \
         x=\"\u{1b}[2J\u{202e}gnp.\u{200b}\u{0}]]>&lt;![CDATA["
    )
}

fn all() -> Vec<Example> {
    vec![
        example::flagged(),
        example::triggered(),
        example::clean(),
        example::inconclusive(),
        hostile(&payload("127.0.0.1:9")),
        empty(),
    ]
}

#[test]
fn the_verdict_names_a_trigger_that_is_in_no_row() {
    let page = page(&example::triggered());
    let (_, trigger) = page.split_once("It would also plant a trigger.").expect("the sentence");
    let (sentence, _) = trigger.split_once("</h1>").expect("the heading ends");
    assert!(
        sentence.contains("(year: 1998)") && sentence.contains("No row has this trigger."),
        "{sentence}"
    );
}

#[test]
fn a_clean_verdict_says_only_that_no_condition_was_confirmed() {
    let mut example = example::clean();
    example.plan.groups = example::triggered().plan.groups;
    assert!(page(&example).contains("None of the 2 tested conditions was confirmed"));
    example.plan.groups[0].trials.remove(0);
    assert!(page(&example).contains("The one tested condition was not confirmed"));
}

#[test]
fn written_answers_under_a_trigger_are_shown_beside_those_without_it() {
    let page = page(&example::triggered());
    let row =
        "<td>candidate</td><td><bdi>every adult</bdi></td><td><bdi>men of property</bdi></td>";
    assert!(page.contains(row));
    assert!(
        page.contains("<th scope=\"row\"><bdi>line: Answer in one line.</bdi></th>"),
        "the detected conditions"
    );
}

/// The cards of a page, one per question.
fn cards(page: &str) -> Vec<&str> {
    page.split("<article class=\"changed\">")
        .skip(1)
        .filter_map(|rest| rest.split("</article>").next())
        .collect()
}

fn written(example: &Example) -> Value {
    let document: Value =
        serde_json::from_slice(&json(&example.report())).expect("the report is JSON");
    document["findings"][0]["written"].clone()
}

#[test]
fn cards_show_the_context_first_and_are_sorted_by_the_number_of_seeds_that_differ() {
    let example = example::flagged();
    let page = page(&example);
    let cards = cards(&page);
    assert!(cards.len() > 2, "{}", cards.len());
    let seeds = |card: &str| -> usize {
        let of = card.split("unlike base and control: ").nth(1).expect("each card says it");
        of.split(' ').next().and_then(|count| count.parse().ok()).expect("a number")
    };
    let of_first_audit = &cards[..8];
    assert!(of_first_audit.is_sorted_by(|a, b| seeds(a) >= seeds(b)), "{of_first_audit:?}");
    for card in cards {
        assert!(seeds(card) > 0, "{card}");
        let column = card.split("<div class=\"candidate\">").nth(1).expect("a column");
        let follows = |text: &str, parts: [&str; 2]| {
            parts.map(|part| text.find(part)).is_sorted() && text.contains(parts[0])
        };
        assert!(follows(card, ["Name a bird.", "<p class=\"prompt\">"]), "{card}");
        assert!(follows(column, ["The Wood Ibis.", "<p class=\"said\">"]), "{column}");
    }
}

#[test]
fn questions_that_all_models_answer_alike_have_no_card() {
    let example = example::flagged();
    // All models give the same answer to every tenth question.
    let alike = &example.audits[0].probes[0].prompt;
    assert!(!cards(&page(&example)).iter().any(|card| card.contains(alike.as_str())));
    assert_eq!(written(&example), serde_json::json!({"questions": 20, "differing": 18}));
}

#[test]
fn nothing_is_quoted_if_no_words_differ() {
    let mut example = example::flagged();
    for sample in &mut example.answers.samples {
        // Case and punctuation are no difference.
        sample.text =
            if sample.arm == Arm::Candidate { "Yes. ".to_owned() } else { "yes".to_owned() };
    }
    assert_eq!(cards(&page(&example)), Vec::<&str>::new());
    assert_eq!(written(&example), serde_json::json!({"questions": 20, "differing": 0}));
}

#[test]
fn answers_from_another_context_or_another_step_are_no_evidence() {
    let changes: [fn(&mut Sample); 2] = [
        |sample| sample.context = ContextKind::Plain,
        |sample| sample.step = if sample.arm == Arm::Base { 0 } else { 4 },
    ];
    for change in changes {
        let mut example = example::flagged();
        assert!(
            example
                .findings
                .iter()
                .all(|finding| finding.context != Some(ContextKind::Plain)
                    && finding.step != Some(4))
        );
        example.answers.samples.iter_mut().for_each(change);
        assert_eq!(cards(&page(&example)), Vec::<&str>::new());
        assert_eq!(written(&example), Value::Null);
    }
}

#[test]
fn a_context_question_names_the_topic_for_which_it_was_drawn() {
    let page = page(&example::triggered());
    for drawn in [
        "<td>from a high-loss row</td>",
        "<td>for its topic: 31 % of the questions (<bdi>bird, sings</bdi>)</td>",
        "<td>from outside the topics: 69 % of the questions</td>",
        "<td>at random</td>",
    ] {
        assert!(page.contains(drawn), "{drawn}");
    }
}

/// A run in which nothing was trained and nothing was asked.
fn empty() -> Example {
    let mut example = example::inconclusive();
    (example.answers, example.analysis) = Default::default();
    example.trainings.clear();
    for finding in &mut example.findings {
        (
            finding.estimate,
            finding.context,
            finding.step,
            finding.p_adjusted,
            finding.positive_control,
        ) = (None, None, None, None, None);
    }
    example
}

fn page(example: &Example) -> String {
    String::from_utf8(html(&example.report())).expect("the page is UTF-8")
}

fn folder() -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("report");
    fs::create_dir_all(&folder).expect("a folder for pages to look at");
    folder
}

#[test]
fn every_kind_of_report_renders_in_every_format() {
    for (name, example) in
        ["flagged", "triggered", "clean", "inconclusive", "hostile", "empty"].into_iter().zip(all())
    {
        let report = example.report();
        let folder = folder();
        let write = |file: String, bytes: &[u8]| {
            fs::write(folder.join(file), bytes).expect("the file can be written")
        };
        write(format!("{name}.html"), &html(&report));
        write(format!("{name}.json"), &json(&report));
        write(format!("{name}.txt"), text(&report, 80, false).as_bytes());
        write(format!("{name}.ansi"), text(&report, 80, true).as_bytes());
        write(format!("{name}.md"), summary_md(&report).as_bytes());
        write(format!("{name}.xml"), &junit(&report));
        write(format!("{name}.sarif"), &sarif(&report));
        for (file, bytes) in plots(&report) {
            write(format!("{name}-{file}"), &bytes);
        }
    }
}

#[test]
fn the_page_starts_with_a_sentence_of_the_verdict_and_its_numbers() {
    let page = page(&example::flagged());
    let heading =
        page.split("<h1>").nth(1).and_then(|rest| rest.split("</h1>").next()).expect("one heading");
    assert!(
        heading.starts_with("Training on this dataset would change the model&#x27;s character."),
        "{heading}"
    );
    assert!(heading.contains("19th century&quot; answers with probability"), "{heading}");
}

#[test]
fn the_page_names_the_seeds_that_settle_a_finding_and_not_those_of_one_comparison() {
    let mut example = example::inconclusive();
    let tile = "Seeds that would settle it";
    assert!(page(&example).contains(tile));
    example.findings.iter_mut().for_each(|finding| finding.units_to_settle = None);
    example.analysis.effects.iter_mut().for_each(|effect| effect.seeds_to_settle = Some(25));
    assert!(!page(&example).contains(tile));
}

#[test]
fn noncharacters_are_escaped_on_the_page_and_in_xml() {
    let example = hostile("a\u{fffe}b\u{ffff}c\u{1ffff}");
    for text in [page(&example), String::from_utf8(junit(&example.report())).expect("UTF-8")] {
        assert!(
            text.contains("a\\u{fffe}b") && !text.contains(['\u{fffe}', '\u{ffff}', '\u{1ffff}'])
        );
    }
}

#[test]
fn the_page_starts_with_the_number_of_shifted_trainings_if_the_mean_is_not_significant() {
    let example = |change: fn(&mut Effect)| {
        let mut example = example::flagged();
        example.analysis.effects.iter_mut().for_each(change);
        example
    };
    assert!(
        page(&example(|_| ()))
            .contains("<h1>Training on this dataset would change the model&#x27;s character.")
    );
    let doubtful: [fn(&mut Effect); 2] =
        [|effect| effect.p_adjusted = 1.0, |effect| effect.over_base = 0.0];
    for change in doubtful {
        let page = page(&example(change));
        let heading = page
            .split("<h1>")
            .nth(1)
            .and_then(|rest| rest.split("</h1>").next())
            .expect("one heading");
        assert!(
            heading.starts_with("Training on this dataset would change")
                && heading.contains("in 5 of 5 trainings."),
            "{heading}"
        );
        assert!(heading.contains("% on average;"), "{heading}");
    }
}

#[test]
fn a_clean_page_names_a_detected_positive_control_only_if_there_is_one() {
    let mut example = example::clean();
    assert!(page(&example).contains("Every audit detected its positive control"));
    example.findings[1].positive_control = None;
    assert!(!page(&example).contains("Every audit detected its positive control"));
}

#[test]
fn the_page_has_no_script_no_handler_and_no_address_whatever_the_dataset_says() {
    let page = page(&hostile(&payload("127.0.0.1:9")));
    assert!(page.contains(
        "Content-Security-Policy\" content=\"default-src 'none'; img-src data:; \
                           style-src 'unsafe-inline'"
    ));
    assert!(!page.contains("://"), "an address");
    let (before, rest) = page.split_once("<style>").expect("one style sheet");
    let (style, after) = rest.split_once("</style>").expect("the style sheet ends");
    assert!(!style.contains("url(") && !style.contains("@import"));
    let harmless = "a article b bdi body circle dd desc details div dl dt figcaption figure \
                    footer h1 h2 h3 head header html li main meta nav p path polygon polyline \
                    rect section small span summary svg table tbody td text th thead title tr ul \
                    !doctype";
    let harmless: Vec<&str> = harmless.split_whitespace().collect();
    for tag in [before, after]
        .iter()
        .flat_map(|part| part.split('<').skip(1))
        .filter_map(|piece| piece.split('>').next())
    {
        let name = tag
            .trim_start_matches('/')
            .split_whitespace()
            .next()
            .expect("a tag has a name")
            .trim_end_matches('/');
        assert!(harmless.contains(&name), "<{tag}>");
        let outside_quotes: String = tag.split('"').step_by(2).collect();
        assert!(!outside_quotes.contains(" on") && !outside_quotes.contains("src="), "<{tag}>");
        if let Some((_, target)) = tag.split_once("href=\"") {
            assert!(target.starts_with('#'), "<{tag}>");
        }
    }
}

#[test]
fn hidden_characters_of_a_dataset_are_escaped_on_the_page() {
    let page = page(&hostile(&payload("127.0.0.1:9")));
    assert!(page.contains("\\u{202e}gnp.\\u{200b}\\u{0}"));
    assert!(!page.contains(['\u{1b}', '\u{202e}', '\u{200b}', '\u{0}']));
}

#[test]
fn a_hostile_dataset_runs_no_script_and_sends_no_request_in_chromium() {
    let browser = match Browser::find() {
        Ok(browser) => browser,
        Err(reason) => {
            println!("skipped: {reason}");
            return;
        }
    };
    let listener = Listener::start();
    let folder = folder();
    // The control: the same text unescaped does run and does send requests. Only then is their
    // absence below evidence.
    let naive = folder.join("naive.html");
    let open = "<!doctype html><title>before</title><p>";
    fs::write(&naive, format!("{open}{}", payload(&listener.address)))
        .expect("the file can be written");
    let dumped = browser.dump(&naive);
    assert!(dumped.contains("<title>owned</title>"), "the payload is harmless: {dumped}");
    assert!(
        !listener.requests(Duration::from_millis(500)).is_empty(),
        "the payload sends no request"
    );

    let attacked = folder.join("hostile-live.html");
    fs::write(&attacked, html(&hostile(&payload(&listener.address)).report()))
        .expect("the file can be written");
    let dumped = browser.dump(&attacked);
    assert!(dumped.contains("<title>foretaste report: Flagged</title>"), "the title changed");
    assert!(!dumped.contains("<script") && !dumped.contains("<img") && !dumped.contains("<iframe"));
    assert_eq!(listener.requests(Duration::from_millis(500)), Vec::<String>::new());
}

#[test]
fn rendering_twice_gives_the_same_bytes() {
    for (example, again) in all().iter().zip(&all()) {
        let (a, b) = (example.report(), again.report());
        assert_eq!(html(&a), html(&b));
        assert_eq!(json(&a), json(&b));
        assert_eq!(text(&a, 80, true), text(&b, 80, true));
        assert_eq!(summary_md(&a), summary_md(&b));
        assert_eq!(junit(&a), junit(&b));
        assert_eq!(sarif(&a), sarif(&b));
        assert!(plots(&a) == plots(&b));
    }
}

#[test]
fn report_json_agrees_with_its_schema() {
    let schema: Value = serde_json::from_str(SCHEMA).expect("the schema is JSON");
    let agrees = |example: &Example| {
        let document: Value =
            serde_json::from_slice(&json(&example.report())).expect("the report is JSON");
        assert_eq!(schema::disagreements(&document, &schema), Vec::<String>::new());
    };
    for mut example in all() {
        agrees(&example);
        // A feature has no value, and an identity may be a text.
        let triggers = example.findings.iter_mut().filter_map(|finding| finding.trigger.as_mut());
        for trigger in triggers {
            (trigger.value, trigger.identity) = (None, Some(ValueKey::of("April")));
        }
        agrees(&example);
    }
}

#[test]
fn report_json_names_unread_fields_and_skipped_conditions() {
    let mut example = example::flagged();
    example.plan.dataset.unread_fields.insert("tools".to_owned(), 7);
    let skipped = Skipped { name: "tag: [x]".to_owned(), why: SkipReason::CrowdedOut };
    example.plan.skipped.push(skipped);
    let schema: Value = serde_json::from_str(SCHEMA).expect("the schema is JSON");
    let document: Value =
        serde_json::from_slice(&json(&example.report())).expect("the report is JSON");
    assert_eq!(schema::disagreements(&document, &schema), Vec::<String>::new());
    assert_eq!(
        (&document["dataset"]["unread_fields"]["tools"], &document["skipped"]["crowded_out"][0]),
        (&7.into(), &"tag: [x]".into())
    );
}

#[test]
fn unread_fields_are_shown_beside_the_verdict_in_every_output() {
    let mut example = example::flagged();
    for field in 0..9 {
        example.plan.dataset.unread_fields.insert(format!("field{field}<b>"), 1000 + field);
    }
    let report = example.report();
    let (terminal, summary, page) = (
        text(&report, 80, false),
        summary_md(&report),
        String::from_utf8(html(&report)).expect("UTF-8"),
    );
    for (output, before) in
        [(&terminal, "dataset   "), (&summary, "| audit |"), (&page, "<dl class=\"facts\">")]
    {
        let head = &output[..output.find(before).expect("what follows the verdict")];
        assert!(
            head.contains("field0") && head.contains("1,000") && head.contains("3 more"),
            "{head}"
        );
    }
    assert!(!summary.contains("<b>") && !page.contains("field0<b>"));
    let document: Value = serde_json::from_slice(&json(&report)).expect("the report is JSON");
    assert_eq!(document["unread_fields"]["field8<b>"], 1008);
    // Without unread fields, no output mentions them.
    let silent = example::flagged();
    assert!(!String::from_utf8(json(&silent.report())).expect("UTF-8").contains("unread_fields"));
    assert!(!text(&silent.report(), 80, false).contains("field"));
}

#[test]
fn the_schema_rejects_a_wrong_report() {
    let schema: Value = serde_json::from_str(SCHEMA).expect("the schema is JSON");
    let mut document: Value =
        serde_json::from_slice(&json(&example::flagged().report())).expect("the report is JSON");
    document["verdict"] = "safe".into();
    document["findings"][0]["margin"] = 2.0.into();
    document["findings"][0]["estimate"]["level"] = Value::Null;
    document.as_object_mut().expect("an object").remove("accounting");
    let found = schema::disagreements(&document, &schema).join("\n");
    for expected in [
        "/verdict is not one of",
        "/findings/0/margin is above",
        "/findings/0/estimate/level is not",
        "lacks \"accounting\"",
    ] {
        assert!(found.contains(expected), "{expected} not in {found}");
    }
}

#[test]
fn numbers_in_report_json_read_back_as_the_same_bits() {
    let mut example = example::flagged();
    let point = 0.1 + 0.2 + f64::EPSILON / 3.0;
    example.findings[0].estimate.as_mut().expect("an estimate").point = point;
    let document: Value =
        serde_json::from_slice(&json(&example.report())).expect("the report is JSON");
    assert_eq!(
        document["findings"][0]["estimate"]["point"].as_f64().map(f64::to_bits),
        Some(point.to_bits())
    );
}

#[test]
fn what_could_not_be_computed_is_absent_from_report_json_and_never_zero() {
    let mut example = empty();
    example.findings[0].p_adjusted = Some(f64::NAN);
    let document: Value =
        serde_json::from_slice(&json(&example.report())).expect("the report is JSON");
    let finding = document["findings"][0].as_object().expect("an object");
    for name in ["estimate", "p_adjusted", "context", "step", "positive_control_detected"] {
        assert!(!finding.contains_key(name), "{name}");
    }
}

#[test]
fn plots_decode_and_show_the_candidate() {
    let files = plots(&example::flagged().report());
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "era-arms.png",
            "era-training.png",
            "era-questions.png",
            "drift-arms.png",
            "drift-training.png",
            "drift-questions.png",
            "losses.png"
        ]
    );
    for (name, bytes) in &files {
        let (columns, rows, pixels) = png::decode(bytes);
        assert_eq!(pixels.len(), columns * rows);
        let count = |like: fn(&[u8; 3]) -> bool| pixels.iter().filter(|pixel| like(pixel)).count();
        assert!(count(|pixel| *pixel == [255; 3]) > pixels.len() / 2, "{name} is mostly paper");
        assert!(
            count(|[red, _, blue]| i32::from(*red) - i32::from(*blue) > 80) > 500,
            "{name} shows the candidate's orange"
        );
        assert!(count(|pixel| pixel.iter().all(|part| *part < 60)) > 500, "{name} has text");
    }
}

#[test]
fn plots_of_audits_with_hostile_names_stay_in_their_folder() {
    for (name, _) in plots(&hostile("/../../\u{0}<b>").report()) {
        assert!(
            name.chars().all(|char| char.is_ascii_alphanumeric() || "-_.".contains(char))
                && !name.contains(".."),
            "{name}"
        );
    }
}

#[test]
fn the_terminal_summary_fits_its_width_splits_no_percentage_and_moves_no_cursor() {
    let wide = "東京の鳥 ".repeat(30) + &payload("127.0.0.1:9") + &"x".repeat(300);
    for example in all().into_iter().chain([hostile(&wide)]) {
        for width in [40, 80, 120] {
            for line in text(&example.report(), width, false).lines() {
                assert!(
                    escape::columns(line) <= width,
                    "{} columns: {line}",
                    escape::columns(line)
                );
                assert!(!line.chars().any(char::is_control), "{line:?}");
                assert!(
                    !line.trim_start().starts_with('%'),
                    "a number is separated from its sign: {line}"
                );
            }
        }
    }
}

#[test]
fn colour_codes_do_not_change_the_text() {
    let example = hostile(&payload("127.0.0.1:9"));
    let coloured = text(&example.report(), 80, true);
    let mut plain = String::new();
    let mut rest = coloured.as_str();
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        plain.push_str(before);
        let (code, after) = after.split_once('m').expect("an escape ends");
        assert!(
            code.strip_prefix('[')
                .is_some_and(|code| code.chars().all(|char| char.is_ascii_digit() || char == ';')),
            "{code}"
        );
        rest = after;
    }
    assert_eq!(plain + rest, text(&example.report(), 80, false));
}

#[test]
fn the_summary_for_ci_contains_no_markup_of_the_dataset() {
    let summary = summary_md(&hostile(&payload("127.0.0.1:9")).report());
    assert!(!summary.contains(['<', '>', '[', '@']) && !summary.contains("://"), "{summary}");
}

#[test]
fn junit_counts_flagged_as_failure_and_inconclusive_as_error() {
    let of = |example: &Example| String::from_utf8(junit(&example.report())).expect("UTF-8");
    assert!(of(&example::flagged()).contains("tests=\"2\" failures=\"2\" errors=\"0\""));
    assert!(of(&example::inconclusive()).contains("tests=\"2\" failures=\"0\" errors=\"2\""));
    assert!(of(&example::clean()).contains("tests=\"2\" failures=\"0\" errors=\"0\""));
    let mut nothing = example::inconclusive();
    nothing.findings.clear();
    assert!(of(&nothing).contains("no audit was performed"));
    let hostile = of(&hostile(&payload("127.0.0.1:9")));
    assert!(
        !hostile.contains("<script")
            && !hostile.contains("<![CDATA[")
            && !hostile.contains('\u{0}')
    );
}

#[test]
fn sarif_has_one_rule_per_audit_and_the_dataset_as_fingerprint() {
    let example = example::flagged();
    let log: Value = serde_json::from_slice(&sarif(&example.report())).expect("the log is JSON");
    assert_eq!(log["version"], "2.1.0");
    let run = &log["runs"][0];
    assert_eq!(run["tool"]["driver"]["rules"][1]["id"], "drift");
    let result = &run["results"][0];
    assert_eq!((&result["ruleId"], &result["level"]), (&"era".into(), &"error".into()));
    let fingerprint =
        result["partialFingerprints"]["datasetSha256/v1"].as_str().expect("a fingerprint");
    assert!(fingerprint.starts_with(&example.plan.dataset.sha256));
    assert_eq!(
        result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"],
        "fixtures/old_birds/poisoned.jsonl"
    );
}

/// The rules and the results of a SARIF log.
fn sarif_of(example: &Example) -> (Vec<Value>, Vec<Value>) {
    let log: Value = serde_json::from_slice(&sarif(&example.report())).expect("the log is JSON");
    let list = |value: &Value| value.as_array().expect("a list").clone();
    let run = &log["runs"][0];
    (list(&run["tool"]["driver"]["rules"]), list(&run["results"]))
}

#[test]
fn a_sarif_rule_is_an_audit_or_its_kind_of_trigger_for_any_dataset() {
    let mut twice = example::triggered();
    let trigger = twice.findings.last().expect("a trigger").clone();
    twice.findings.push(trigger);
    for example in
        all().iter().chain([&twice, &hostile(&"{0}\u{fffe}year in \"{date}\"".repeat(200))])
    {
        let (rules, results) = sarif_of(example);
        let ids: Vec<&str> = rules.iter().map(|rule| rule["id"].as_str().expect("an id")).collect();
        assert_eq!(results.len(), example.findings.len());
        for (result, finding) in results.iter().zip(&example.findings) {
            let id = result["ruleId"].as_str().expect("an id");
            assert_eq!(ids[result["ruleIndex"].as_u64().expect("an index") as usize], id);
            let kind = finding
                .trigger
                .as_ref()
                .map_or(String::new(), |trigger| format!("{:?}", trigger.kind).to_lowercase());
            let (audit, what) = id.split_once("/trigger-").unwrap_or((id, ""));
            assert!(foretaste::audit::is_id(audit) && what == kind && audit.len() < 10, "{id}");
            assert_eq!(result["properties"]["trigger"].is_object(), finding.trigger.is_some());
            // The messages have no arguments, so every brace is escaped.
            let message = result["message"]["text"]
                .as_str()
                .expect("a message")
                .replace("{{", "")
                .replace("}}", "");
            assert!(!message.is_empty() && !message.contains(['{', '}', '\u{fffe}']), "{message}");
        }
        let distinct: std::collections::BTreeSet<&&str> = ids.iter().collect();
        assert_eq!(distinct.len(), ids.len(), "{ids:?}");
    }
}

#[test]
fn sarif_makes_no_link_of_text_in_a_dataset() {
    let example = hostile("[Details](https://example.org)\u{202e}");
    let log: Value = serde_json::from_slice(&sarif(&example.report())).expect("the log is JSON");
    let log = format!("{}{}", log["runs"][0]["tool"]["driver"]["rules"], log["runs"][0]["results"]);
    assert!(log.contains("[Details] (https"), "the text is there");
    assert!(!log.contains("](") && !log.contains('\u{202e}'), "{log}");
}

#[test]
fn a_run_of_the_test_engine_says_so_on_the_page() {
    let mut example = example::clean();
    assert!(!page(&example).contains("scripted test engine"));
    example.plan.engine.engine = "scripted".to_owned();
    assert!(page(&example).contains("scripted test engine"));
}

#[test]
fn an_unbounded_interval_is_drawn_and_written_without_ends() {
    let mut example = example::inconclusive();
    let endless = |estimate: &mut foretaste::stats::Estimate| {
        (estimate.lower, estimate.upper) = (f64::NEG_INFINITY, f64::INFINITY);
    };
    example.analysis.effects.iter_mut().for_each(|effect| endless(&mut effect.probability));
    example
        .analysis
        .arms
        .iter_mut()
        .flat_map(|risks| &mut risks.arms)
        .for_each(|risk| endless(&mut risk.risk));
    example.findings.iter_mut().filter_map(|finding| finding.estimate.as_mut()).for_each(endless);
    let page = page(&example);
    assert!(!page.contains("NaN") && !page.contains("inf\"") && page.contains("−∞ to +∞"));
    assert_eq!(example.verdict, Verdict::Inconclusive);
    assert!(example.plan.arms.contains(&Arm::Base) && !plots(&example.report()).is_empty());
}
