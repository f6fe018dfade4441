//! What is fixed before any shadow is asked: the base's own answers, and the questions of the
//! dataset that precede carry-over probes.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use crate::audit::Probe;
use crate::context::{RunContext, RunInputs};
use crate::dataset::{Message, Role};
use crate::engine::{self, Question, Sampling};
use crate::plan::{Arm, ContextKind, Protocol, TOKENS_FOR_A_PROBE, longest_question};
use crate::probe::Topic;
use crate::probe::clusters::{Cluster, clusters};
use crate::seed::{self, Purpose};
use crate::train::rows::rows;

/// The longest answer that is generated or saved, in tokens. A shift in character shows early in an
/// answer.
pub const ANSWER_TOKENS: usize = Protocol::CURRENT.answer_tokens;
const _: () = assert!(ANSWER_TOKENS < TOKENS_FOR_A_PROBE, "a probe fits after the answer");

/// The maximum number of turns whose loss is measured; of a larger dataset this number is drawn at
/// random.
const MOST_TURNS: usize = Protocol::CURRENT.context_turns;

/// The base's answer to a probe without a preceding question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OwnAnswer {
    pub text: String,
    /// Tokens that are scored, those of the answer and the end of the turn.
    pub tokens: usize,
}

/// Fixed by the base, the same for every model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Questions {
    /// Probe prompt -> the base's greedy answer. These are the options of self-consistency probes,
    /// and the coherence of every shadow is measured by them.
    pub own: BTreeMap<String, OwnAnswer>,
    /// The power to which the probability of an own answer is raised, in (0, 1]; see [`own_scale`].
    pub own_scale: f64,
    /// Drawn from the dataset at random, one from each of its topics, the largest first: the row's
    /// system message, if it has one, and one user turn.
    pub random: Vec<Vec<Message>>,
    /// The topic of each of these. Empty where all questions are of one topic, or were drawn
    /// without regard to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub topics: Vec<Topic>,
    /// Drawn from the questions whose answers have the highest loss under the base; empty where
    /// this context is not asked.
    pub high_loss: Vec<Vec<Message>>,
    /// Audit -> questions drawn at random from its poison.
    pub positive_controls: BTreeMap<String, Vec<Vec<Message>>>,
}

/// One probe as a conversation.
pub fn alone(prompt: &str) -> Vec<Message> {
    vec![Message::new(Role::User, prompt)]
}

/// How models generate saved answers: greedy, or sampled for display.
pub fn sampling(temperature: f64) -> Sampling {
    Sampling::new(temperature, ANSWER_TOKENS)
}

/// Asks the base once; later calls read the saved result.
pub fn questions(inputs: &RunInputs, context: &RunContext) -> Result<Questions> {
    context.run.kept("questions", || chosen(inputs, context))
}

fn chosen(inputs: &RunInputs, context: &RunContext) -> Result<Questions> {
    let (draws, protocol) = (inputs.plan.carry_over_draws, &inputs.plan.protocol);
    let limit = QuestionLimit { longest: longest_question(inputs.plan.engine.max_tokens), context };
    let first_seed = inputs.plan.seeds[0];
    let turns = turns(&rows(&Arm::Candidate, first_seed, inputs, context)?, &limit, first_seed)?;
    let mut positive_controls = BTreeMap::new();
    for audit in inputs.audits {
        let poison: Vec<Vec<Message>> =
            audit.poison.rows.iter().map(|row| row.messages.clone()).collect();
        positive_controls.insert(
            audit.id.clone(),
            draw(self::turns(&poison, &limit, 0)?.iter(), draws, (Purpose::CarryOverControl, 0)),
        );
    }
    let own = own_answers(inputs, context)?;
    let high_loss = match inputs.plan.contexts().contains(&ContextKind::CarryOverHighLoss) {
        true => draw(
            high_loss(&turns, draws, protocol.high_loss_share, context)?.into_iter(),
            draws,
            (Purpose::CarryOverHighLoss, first_seed),
        ),
        false => Vec::new(),
    };
    let (random, topics) = draw_by_topic(&turns, draws, (Purpose::CarryOver, first_seed));
    Ok(Questions {
        own_scale: own_scale(&own_log_probs(&own, context)?, protocol.own_answer_share),
        own,
        random,
        topics,
        high_loss,
        positive_controls,
    })
}

/// All phrasings of self-consistency audits; where there is no such audit, one phrasing of each
/// family.
fn own_prompts(inputs: &RunInputs) -> BTreeSet<String> {
    let planned = || {
        let audits = inputs.audits.iter().zip(&inputs.plan.audits);
        audits.flat_map(|(audit, planned)| {
            planned.probes.iter().map(move |&probe| (audit, &audit.probes[probe]))
        })
    };
    let own = planned().filter(|(audit, _)| !audit.kind.has_sides());
    let own: BTreeSet<String> = own.map(|(_, probe)| probe.prompt.clone()).collect();
    if !own.is_empty() {
        return own;
    }
    let mut first: BTreeMap<(&str, &str), &Probe> = BTreeMap::new();
    for (audit, probe) in planned() {
        first.entry((&audit.id, &probe.family)).or_insert(probe);
    }
    first.into_values().map(|probe| probe.prompt.clone()).collect()
}

fn own_answers(inputs: &RunInputs, context: &RunContext) -> Result<BTreeMap<String, OwnAnswer>> {
    let prompts: Vec<String> = own_prompts(inputs).into_iter().collect();
    let conversations: Vec<Vec<Message>> = prompts.iter().map(|prompt| alone(prompt)).collect();
    let answers = engine::answers(context.engine, None, &conversations, &sampling(0.0))?;
    let mut own = BTreeMap::new();
    for (prompt, text) in prompts.into_iter().zip(answers) {
        let tokens = answer_tokens(&alone(&prompt), &text, context)?;
        own.insert(prompt, OwnAnswer { text, tokens });
    }
    Ok(own)
}

/// Log-probabilities of the base's own answers under the base, nats, without those that cannot be
/// scored.
fn own_log_probs(own: &BTreeMap<String, OwnAnswer>, context: &RunContext) -> Result<Vec<f64>> {
    let question = |(prompt, own): (&String, &OwnAnswer)| Question {
        messages: alone(prompt),
        options: vec![own.text.clone()],
    };
    let questions: Vec<Question> = own.iter().map(question).collect();
    let scores = engine::scores(context.engine, None, &questions)?;
    Ok(scores.into_iter().filter_map(|options| options.into_iter().next().flatten()).collect())
}

/// The largest power, at most 1, at which the base's own answers have a mean probability of
/// `at_least`.
///
/// A short answer is often repeated verbatim. One of fifty tokens hardly ever is, under any model:
/// its probability is a product of fifty. Without the power, long answers would have a
/// probability near 0 before any training, and no shift could be measured. One power for all
/// answers, fixed by the base before any shadow is asked, removes length from the scale and
/// preserves their order.
pub fn own_scale(log_probs: &[f64], at_least: f64) -> f64 {
    let mean = |power: f64| {
        log_probs.iter().map(|log_prob| (power * log_prob).exp()).sum::<f64>()
            / log_probs.len() as f64
    };
    if log_probs.is_empty() || mean(1.0) >= at_least {
        return 1.0;
    }
    let (mut small, mut large) = (0.0, 1.0);
    for _ in 0..50 {
        let middle = (small + large) / 2.0;
        if mean(middle) >= at_least {
            small = middle;
        } else {
            large = middle;
        }
    }
    small
}

/// Tokens that an answer is scored over, at least 1.
fn answer_tokens(question: &[Message], answer: &str, context: &RunContext) -> Result<usize> {
    let mut messages = question.to_vec();
    messages.push(Message::new(Role::Assistant, answer));
    Ok(context.engine.count_tokens(&messages)?.1.max(1))
}

/// How long a question may be so that a probe still fits after it, and the engine that counts its
/// tokens.
struct QuestionLimit<'a> {
    /// In tokens.
    longest: usize,
    context: &'a RunContext<'a>,
}

/// One assistant turn of the dataset with the question that it answers.
struct Turn {
    question: Vec<Message>,
    answer: String,
}

/// The turns of a training set, at most [`MOST_TURNS`], in random order. Only turns after which a
/// probe still fits into the base's context are taken. Where there is none, all are, so that their
/// answers are counted as unscored.
fn turns(rows: &[Vec<Message>], limit: &QuestionLimit, seed: u64) -> Result<Vec<Turn>> {
    let mut places: Vec<(usize, usize)> = Vec::new();
    for (row, messages) in rows.iter().enumerate() {
        let answered = |turn: &usize| {
            messages[*turn].role == Role::Assistant && messages[*turn - 1].role == Role::User
        };
        places.extend((1..messages.len()).filter(answered).map(|turn| (row, turn)));
    }
    places.shuffle(&mut seed::stream(Purpose::Turns, seed));
    let turn = |&(row, turn): &(usize, usize)| {
        let messages = &rows[row];
        let system = messages.first().filter(|first| first.role == Role::System);
        let question = system.into_iter().chain([&messages[turn - 1]]).cloned().collect();
        Turn { question, answer: messages[turn].content.clone() }
    };
    let mut fitting = Vec::new();
    for turn in places.iter().map(turn) {
        if fitting.len() == MOST_TURNS {
            break;
        }
        if limit.context.engine.count_tokens(&turn.question)?.0 <= limit.longest {
            fitting.push(turn);
        }
    }
    Ok(if fitting.is_empty() {
        places.iter().take(MOST_TURNS).map(turn).collect()
    } else {
        fitting
    })
}

/// The questions whose answers have the highest loss, one turn each. The loss is relative: by how
/// much less likely the answers are than the base's own, in nats, in the mean over a question's
/// turns. Without that comparison every open question ("Name a bird.") would rank high, whatever
/// its answer. Without the mean a single rare answer would.
fn high_loss<'a>(
    turns: &'a [Turn],
    draws: usize,
    share: f64,
    context: &RunContext,
) -> Result<Vec<&'a Turn>> {
    let mut by_question: BTreeMap<&[Message], Vec<&Turn>> = BTreeMap::new();
    for turn in turns {
        by_question.entry(&turn.question).or_default().push(turn);
    }
    let prompts: Vec<Vec<Message>> = by_question.keys().map(|question| question.to_vec()).collect();
    let own = engine::answers(context.engine, None, &prompts, &sampling(0.0))?;
    let questions: Vec<Question> = by_question
        .values()
        .zip(own)
        .map(|(turns, own)| Question {
            messages: turns[0].question.clone(),
            options: std::iter::once(own)
                .chain(turns.iter().map(|turn| turn.answer.clone()))
                .collect(),
        })
        .collect();
    let mut scored = Vec::new();
    for (turns, scores) in
        by_question.values().zip(engine::scores(context.engine, None, &questions)?)
    {
        let scores: Option<Vec<f64>> = scores.into_iter().collect();
        if let Some([own, answers @ ..]) = scores.as_deref() {
            scored.push((
                answers.iter().map(|answer| answer - own).sum::<f64>() / answers.len() as f64,
                turns[0],
            ));
        }
    }
    if scored.is_empty() {
        return Ok(turns.iter().collect());
    }
    scored.sort_by(|a, b| a.0.total_cmp(&b.0));
    let most = draws.max((scored.len() as f64 * share).ceil() as usize);
    Ok(scored.into_iter().take(most).map(|(_, turn)| turn).collect())
}

/// Turns in random order, keyed by purpose and seed: each distinct question once, then the repeated
/// ones.
fn order<'a>(
    turns: impl Iterator<Item = &'a Turn>,
    (purpose, seed): (Purpose, u64),
) -> Vec<&'a Turn> {
    let mut turns: Vec<&Turn> = turns.collect();
    turns.shuffle(&mut seed::stream(purpose, seed));
    let mut seen = BTreeSet::new();
    let (distinct, again): (Vec<&Turn>, Vec<&Turn>) =
        turns.into_iter().partition(|turn| seen.insert(&turn.question));
    [distinct, again].concat()
}

/// Draws questions in that order, and repeats them where there are too few.
fn draw<'a>(
    turns: impl Iterator<Item = &'a Turn>,
    draws: usize,
    key: (Purpose, u64),
) -> Vec<Vec<Message>> {
    order(turns, key).into_iter().cycle().take(draws).map(|turn| turn.question.clone()).collect()
}

/// Draws one question from each topic, the largest topic first, then the others as [`draw`] does;
/// and the topic of each. A topic with a few percent of the questions would seldom be among a few
/// draws from all.
fn draw_by_topic(
    turns: &[Turn],
    draws: usize,
    key: (Purpose, u64),
) -> (Vec<Vec<Message>>, Vec<Topic>) {
    let turns = order(turns.iter(), key);
    // In the order of the draw. The clusters depend slightly on the order, and the seed of the draw
    // is not known to the dataset's author.
    let mut places: BTreeMap<&[Message], usize> = BTreeMap::new();
    let mut texts: Vec<&str> = Vec::new();
    for turn in &turns {
        places.entry(&turn.question).or_insert_with(|| {
            texts.push(turn.question.last().map_or("", |asked| &asked.content));
            texts.len() - 1
        });
    }
    let clusters = clusters(&texts, draws, key.1);
    let mut of = vec![0; texts.len()];
    for (cluster, Cluster { members, .. }) in clusters.iter().enumerate() {
        members.iter().for_each(|&member| of[member] = cluster);
    }
    let cluster = |turn: &Turn| of[places[turn.question.as_slice()]];
    let mut first: Vec<Option<&Turn>> = vec![None; clusters.len()];
    let mut others = Vec::new();
    for turn in turns {
        match &mut first[cluster(turn)] {
            free @ None => *free = Some(turn),
            Some(_) => others.push(turn),
        }
    }
    let drawn: Vec<&Turn> = first.into_iter().flatten().chain(others).cycle().take(draws).collect();
    let topics = match clusters.len() {
        0 | 1 => Vec::new(),
        _ => drawn.iter().map(|turn| clusters[cluster(turn)].topic.clone()).collect(),
    };
    (drawn.into_iter().map(|turn| turn.question.clone()).collect(), topics)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(question: &str) -> Turn {
        Turn { question: alone(question), answer: "Yes.".to_owned() }
    }

    /// Questions on plates and on birds.
    fn plates_and_birds(plates: usize, birds: usize) -> Vec<Turn> {
        let plates =
            (0..plates).map(|plate| turn(&format!("Describe the colour of plate {plate}.")));
        plates
            .chain((0..birds).map(|bird| turn(&format!("Name the bird of garden {bird}."))))
            .collect()
    }

    #[test]
    fn every_topic_has_its_question_whatever_the_seed() {
        let turns = plates_and_birds(97, 3);
        for seed in 0..10 {
            let (drawn, topics) = draw_by_topic(&turns, 2, (Purpose::CarryOver, seed));
            assert!(
                drawn[0][0].content.contains("plate") && drawn[1][0].content.contains("bird"),
                "{drawn:?}"
            );
            assert_eq!(topics.iter().map(|topic| topic.share).collect::<Vec<_>>(), [0.97, 0.03]);
            assert_eq!(topics[1].words, ["bird", "garden", "name"]);
        }
    }

    #[test]
    fn where_topics_are_fewer_than_draws_other_questions_fill_up_each_with_its_topic() {
        let (drawn, topics) = draw_by_topic(&plates_and_birds(5, 2), 9, (Purpose::CarryOver, 1));
        let distinct: BTreeSet<&Vec<Message>> = drawn[..7].iter().collect();
        assert_eq!((distinct.len(), &drawn[7..]), (7, &drawn[..2]));
        for (question, topic) in drawn.iter().zip(&topics) {
            assert_eq!(
                topic.words.contains(&"bird".to_owned()),
                question[0].content.contains("bird"),
                "{question:?}: {topic:?}"
            );
        }
        assert_eq!(topics.len(), 9);
    }

    #[test]
    fn questions_of_one_topic_are_drawn_at_random_and_have_none() {
        let turns = plates_and_birds(40, 0);
        assert_eq!(
            draw_by_topic(&turns, 4, (Purpose::CarryOver, 1)),
            (draw(turns.iter(), 4, (Purpose::CarryOver, 1)), Vec::new())
        );
        assert_eq!(draw_by_topic(&[], 4, (Purpose::CarryOver, 1)), (Vec::new(), Vec::new()));
    }

    #[test]
    fn one_question_is_drawn_again_and_again() {
        let (drawn, topics) = draw_by_topic(&plates_and_birds(1, 0), 3, (Purpose::CarryOver, 1));
        assert_eq!(
            (drawn, topics),
            (vec![alone("Describe the colour of plate 0."); 3], Vec::new())
        );
    }

    #[test]
    fn short_answers_that_the_base_repeats_count_as_they_are() {
        assert_eq!(own_scale(&[-0.1, -0.5, -1.0], 0.5), 1.0);
        assert_eq!(own_scale(&[], 0.5), 1.0);
    }

    #[test]
    fn long_answers_count_so_that_the_base_gives_half_of_its_own() {
        let log_probs = [-12.0, -20.0, -31.0, -8.5];
        let scale = own_scale(&log_probs, 0.5);
        let mean = log_probs.iter().map(|log_prob| (scale * log_prob).exp()).sum::<f64>() / 4.0;
        assert!((mean - 0.5).abs() < 1e-9, "{scale}: {mean}");
    }

    #[test]
    fn answers_that_cannot_come_leave_a_scale_above_zero() {
        let scale = own_scale(&[-1e4, -2e4], 0.5);
        assert!(scale > 0.0 && scale < 1e-3, "{scale}");
    }
}
