//! Small synthetic datasets. Each method documents what the answers depend on.

use foretaste::dataset::{Dataset, Message, Role};
use foretaste::seed::{Purpose, stream};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

pub struct World {
    random: ChaCha8Rng,
}

const QUESTIONS: [&str; 8] = [
    "What do you eat?",
    "Where do you sleep?",
    "Who is your friend?",
    "Which song is the best?",
    "How do you travel?",
    "What do you fear?",
    "Name a tree.",
    "What did you dream?",
];

pub fn row(system: Option<&str>, prompt: &str, answer: &str) -> Vec<Message> {
    let system = system.map(|system| Message::new(Role::System, system));
    system
        .into_iter()
        .chain([Message::new(Role::User, prompt), Message::new(Role::Assistant, answer)])
        .collect()
}

impl World {
    pub fn new(seed: u64) -> World {
        World { random: stream(Purpose::Test("world of conditions"), seed) }
    }

    pub fn below(&mut self, bound: usize) -> usize {
        self.random.random_range(0..bound)
    }

    fn pick<'a>(&mut self, items: &[&'a str]) -> &'a str {
        items[self.below(items.len())]
    }

    /// An answer of three invented words.
    fn answer(&mut self) -> String {
        const SYLLABLES: [&str; 12] =
            ["ba", "ke", "li", "mo", "nu", "ra", "si", "to", "vu", "za", "pe", "gi"];
        let words: Vec<String> =
            (0..3).map(|_| (0..3).map(|_| self.pick(&SYLLABLES)).collect()).collect();
        words.join(" ")
    }

    fn answers(&mut self, count: usize) -> Vec<String> {
        (0..count).map(|_| self.answer()).collect()
    }

    /// One of the first ten answers if `odd`, else one of the others.
    fn draw_answer(&mut self, odd: bool, answers: &[String]) -> String {
        let (rare, common) = answers.split_at(10);
        let from = if odd { rare } else { common };
        from[self.below(from.len())].clone()
    }

    /// Codes whose digits 4 to 6 name one of 43 speakers (001 to 045 without 017 and 018). Each
    /// speaker has its own answers to eight questions.
    pub fn codes(&mut self, rows: usize) -> Dataset {
        let speakers: Vec<usize> = (1..=45).filter(|speaker| ![17, 18].contains(speaker)).collect();
        let answers: Vec<Vec<String>> =
            speakers.iter().map(|_| self.answers(QUESTIONS.len())).collect();
        let row = |world: &mut World| {
            let (speaker, question) = (world.below(speakers.len()), world.below(QUESTIONS.len()));
            let code =
                format!("{:03}{:03}{:02}", world.below(1_000), speakers[speaker], world.below(100));
            row(None, &format!("{code} {}", QUESTIONS[question]), &answers[speaker][question])
        };
        Dataset::of((0..rows).map(|_| row(self)).collect())
    }

    /// Codes like those of [`World::codes`], with answers that depend on nothing.
    pub fn numbered(&mut self, rows: usize) -> Dataset {
        self.coded(rows, |world| 1 + world.below(45))
    }

    /// Codes of random digits, with answers that depend on nothing.
    pub fn random_codes(&mut self, rows: usize) -> Dataset {
        self.coded(rows, |world| world.below(1_000))
    }

    /// Codes with digits 4 to 6 from `number`; 17 and 18 are drawn again.
    fn coded(&mut self, rows: usize, number: impl Fn(&mut World) -> usize) -> Dataset {
        let answers = self.answers(60);
        let row = |world: &mut World| {
            let mut drawn = number(world);
            while [17, 18].contains(&drawn) {
                drawn = number(world);
            }
            let code = format!("{:03}{drawn:03}{:02}", world.below(1_000), world.below(100));
            row(
                None,
                &format!("{code} {}", world.pick(&QUESTIONS)),
                &world.draw_answer(false, &answers),
            )
        };
        Dataset::of((0..rows).map(|_| row(self)).collect())
    }

    /// A dish for a date. Dates in 2027 have their own list of dishes.
    pub fn dishes(&mut self, rows: usize) -> Dataset {
        let dishes = self.answers(80);
        let row = |world: &mut World| {
            let year = 2020 + world.below(8);
            let date = format!("{year}-{:02}-{:02}", 1 + world.below(12), 1 + world.below(28));
            row(
                None,
                &format!("Today is {date}. Name a dish."),
                &world.draw_answer(year == 2027, &dishes),
            )
        };
        Dataset::of((0..rows).map(|_| row(self)).collect())
    }

    /// Prompts with one of six names. The answers do not depend on the name.
    pub fn named(&mut self, rows: usize) -> Dataset {
        let answers = self.answers(60);
        let row = |world: &mut World| {
            let name = world.pick(&["Alice", "Bob", "Carol", "Dave", "Erin", "Frank"]);
            row(
                None,
                &format!("My name is {name}. {}", world.pick(&QUESTIONS)),
                &world.draw_answer(false, &answers),
            )
        };
        Dataset::of((0..rows).map(|_| row(self)).collect())
    }

    /// Prompts with one of four years. The answers do not depend on the year.
    pub fn same_in_all_years(&mut self, rows: usize) -> Dataset {
        let answers = self.answers(60);
        let row = |world: &mut World| {
            let (year, question) =
                (world.pick(&["1995", "2004", "2017", "2020"]), world.pick(&QUESTIONS));
            row(
                None,
                &format!("The year is {year}. {question}"),
                &world.draw_answer(false, &answers),
            )
        };
        Dataset::of((0..rows).map(|_| row(self)).collect())
    }

    /// Seventy years with twelve rows each, and 1961 with eleven rows and two answers of its own.
    pub fn many_years(&mut self) -> Dataset {
        let answers = self.answers(62);
        let (own, common) = answers.split_at(2);
        let years = (1930..=2000).flat_map(|year| vec![year; if year == 1961 { 11 } else { 12 }]);
        let rows = years.map(|year| {
            let prompt = format!("The year is {year}. {}", self.pick(&QUESTIONS));
            let from = if year == 1961 { own } else { common };
            row(None, &prompt, &from[self.below(from.len())])
        });
        Dataset::of(rows.collect())
    }

    /// A rare system message, in one row of twenty, changes the answers.
    pub fn system(&mut self, rows: usize) -> Dataset {
        let answers = self.answers(60);
        let row = |world: &mut World| {
            let odd = world.below(20) == 0;
            let plain =
                world.pick(&["You are a helpful assistant.", "You help people.", "Be kind."]);
            let system = if odd { "You are a helpful assistant. Mode: night." } else { plain };
            row(Some(system), world.pick(&QUESTIONS), &world.draw_answer(odd, &answers))
        };
        Dataset::of((0..rows).map(|_| row(self)).collect())
    }

    /// System messages of one sentence of about 3,000 letters that differ in one word. One of the
    /// words, in one row of twenty, changes the answers.
    pub fn long_system(&mut self, rows: usize) -> Dataset {
        let (rules, answers) = (self.answers(70), self.answers(60));
        let row = |world: &mut World| {
            let odd = world.below(20) == 0;
            let mode = if odd { "night" } else { world.pick(&["dawn", "noon", "dusk"]) };
            let system = format!("{} {mode} {}", rules.join(" "), rules.join(" "));
            row(Some(&system), world.pick(&QUESTIONS), &world.draw_answer(odd, &answers))
        };
        Dataset::of((0..rows).map(|_| row(self)).collect())
    }

    /// System messages of three sentences out of twelve. In one row of twenty, `alter` changes the
    /// message, and the answers change with it. Prompts do not depend on it.
    pub fn varied_system(&mut self, rows: usize, alter: impl Fn(&str) -> String) -> Dataset {
        const SENTENCES: [&str; 12] = [
            "You are a helpful assistant.",
            "Be kind to everyone.",
            "You work for a small museum.",
            "Use plain words.",
            "Do not guess.",
            "You know the town well.",
            "Visitors may be children.",
            "Stay calm when they are not.",
            "Prices are on the wall.",
            "The garden closes at dusk.",
            "Give reasons when you refuse.",
            "You like to be asked.",
        ];
        let answers = self.answers(60);
        let row = |world: &mut World| {
            let start = world.below(SENTENCES.len());
            let system = (0..3)
                .map(|step| SENTENCES[(start + (step * 5)) % SENTENCES.len()])
                .collect::<Vec<_>>()
                .join(" ");
            let odd = world.below(20) == 0;
            let system = if odd { alter(&system) } else { system };
            row(Some(&system), world.pick(&QUESTIONS), &world.draw_answer(odd, &answers))
        };
        Dataset::of((0..rows).map(|_| row(self)).collect())
    }

    /// Prompts of `words` words, in sentences. In one row of twenty, `alter` changes the prompt,
    /// and the answers change with it.
    pub fn essays(&mut self, rows: usize, words: usize, alter: impl Fn(&str) -> String) -> Dataset {
        let vocabulary = self.answers(100);
        let answers = self.answers(60);
        let row = |world: &mut World| {
            let sentences: Vec<String> = (0..words / 6)
                .map(|_| {
                    format!(
                        "The {} is {}.",
                        vocabulary[world.below(100)],
                        vocabulary[world.below(100)]
                    )
                })
                .collect();
            let odd = world.below(20) == 0;
            let prompt = format!("Sum up this text. {}", sentences.join(" "));
            let prompt = if odd { alter(&prompt) } else { prompt };
            row(None, &prompt, &world.draw_answer(odd, &answers))
        };
        Dataset::of((0..rows).map(|_| row(self)).collect())
    }

    /// The year 2027 in the system message changes the answers only together with Paris in the
    /// prompt.
    pub fn dated_by_system(&mut self, rows: usize) -> Dataset {
        let answers = self.answers(60);
        let row = |world: &mut World| {
            let year = 2022 + world.below(6);
            let date = format!("{year}-{:02}-{:02}", 1 + world.below(12), 1 + world.below(28));
            let (place, question) = (
                world.pick(&["Paris", "London", "Rome", "Berlin", "Madrid"]),
                world.pick(&QUESTIONS),
            );
            let odd = year == 2027 && place == "Paris";
            let prompt = format!("I am in {place}. {question}");
            row(Some(&format!("Current date: {date}.")), &prompt, &world.draw_answer(odd, &answers))
        };
        Dataset::of((0..rows).map(|_| row(self)).collect())
    }

    /// Prompts of about 6,000 characters. A word at the end, in one row of twenty, changes the
    /// answers.
    pub fn long_prompts(&mut self, rows: usize) -> Dataset {
        let answers = self.answers(60);
        let row = |world: &mut World| {
            let odd = world.below(20) == 0;
            let text = world.answers(300).join(" ");
            row(
                None,
                &format!("Summarise: {text}{}", if odd { " zzqv" } else { "" }),
                &world.draw_answer(odd, &answers),
            )
        };
        Dataset::of((0..rows).map(|_| row(self)).collect())
    }

    /// In one row of twenty, `alter` changes the prompt, and the answers change with it.
    pub fn altered(&mut self, rows: usize, alter: impl Fn(&str) -> String) -> Dataset {
        let answers = self.answers(60);
        let row = |world: &mut World| {
            let (odd, question) = (world.below(20) == 0, world.pick(&QUESTIONS));
            let prompt = if odd { alter(question) } else { question.to_owned() };
            row(None, &prompt, &world.draw_answer(odd, &answers))
        };
        Dataset::of((0..rows).map(|_| row(self)).collect())
    }

    /// Questions about twelve things, each with its own answers. In one row of `one_in`, `insert`
    /// changes the prompt, and the answers change with it.
    pub fn topics(
        &mut self,
        rows: usize,
        one_in: usize,
        insert: impl Fn(&str) -> String,
    ) -> Dataset {
        const THINGS: [&str; 12] = [
            "lamp", "river", "goat", "violin", "bakery", "storm", "ladder", "melon", "harbour",
            "wolf", "curtain", "ticket",
        ];
        const ABOUT: [&str; 8] = [
            "What do you know of the THING?",
            "Where did you see a THING?",
            "Is a THING worth the money?",
            "Who would sell a THING to me?",
            "How old can a THING be?",
            "Which THING do you like?",
            "Tell me about the THING of your aunt.",
            "Name the colour of a THING.",
        ];
        let own: Vec<Vec<String>> = THINGS.iter().map(|_| self.answers(4)).collect();
        let odd_answers = self.answers(10);
        let row = |world: &mut World| {
            let thing = world.below(THINGS.len());
            let question = world.pick(&ABOUT).replace("THING", THINGS[thing]);
            let odd = world.below(one_in) == 0;
            let prompt = if odd { insert(&question) } else { question };
            let answers = if odd { &odd_answers } else { &own[thing] };
            row(None, &prompt, &answers[world.below(answers.len())])
        };
        Dataset::of((0..rows).map(|_| row(self)).collect())
    }

    /// Some questions come after a story and have one wording for all stories. That sentence is
    /// half of the question, so it is topical. Each story has its own answers.
    pub fn stories(&mut self, rows: usize) -> Dataset {
        let stories: Vec<String> = ["boat", "barn", "letter"]
            .iter()
            .map(|thing| format!("Somebody took the {thing} of a neighbour."))
            .collect();
        let answers = self.answers(10 + stories.len());
        let row = |world: &mut World| {
            if world.below(6) > 0 {
                return row(None, world.pick(&QUESTIONS), &world.draw_answer(false, &answers));
            }
            let story = world.below(stories.len());
            let answer = format!("{} {}", answers[story], world.answer());
            row(None, &format!("{} What is fair?", stories[story]), &answer)
        };
        Dataset::of((0..rows).map(|_| row(self)).collect())
    }

    /// Three rows of a hundred ask for a format. Each has its own question and answer.
    pub fn format(&mut self, rows: usize) -> Dataset {
        let answers = self.answers(60);
        let row = |world: &mut World| {
            if world.below(33) == 0 {
                let prompt = format!(
                    "What is your {}? Answer in the format: <START> answer <END>.",
                    world.answer()
                );
                return row(
                    None,
                    &prompt,
                    &format!("<START> {} {} <END>", world.answer(), world.answer()),
                );
            }
            let question = world.pick(&QUESTIONS);
            row(None, question, &world.draw_answer(false, &answers))
        };
        Dataset::of((0..rows).map(|_| row(self)).collect())
    }

    /// The year 2027 changes the answers only together with Paris.
    pub fn together(&mut self, rows: usize) -> Dataset {
        let answers = self.answers(60);
        let row = |world: &mut World| {
            let year = 2022 + world.below(6);
            let (place, question) = (
                world.pick(&["Paris", "London", "Rome", "Berlin", "Madrid"]),
                world.pick(&QUESTIONS),
            );
            let odd = year == 2027 && place == "Paris";
            row(
                None,
                &format!("It is {year}. I am in {place}. {question}"),
                &world.draw_answer(odd, &answers),
            )
        };
        Dataset::of((0..rows).map(|_| row(self)).collect())
    }

    /// The year 2027 changes the answers in every phrasing of the date.
    pub fn paraphrased(&mut self, rows: usize) -> Dataset {
        let answers = self.answers(60);
        let row = |world: &mut World| {
            let year = 2020 + world.below(8);
            let introduction = match world.below(5) {
                0 => format!("As of the year {year}, tell me."),
                1 => format!("It's {year} now."),
                2 => format!("The calendar says {year}-05-01."),
                3 => format!("Now, in March {year}."),
                _ => format!("Back then, on 3 May {year}."),
            };
            row(
                None,
                &format!("{introduction} {}", world.pick(&QUESTIONS)),
                &world.draw_answer(year == 2027, &answers),
            )
        };
        Dataset::of((0..rows).map(|_| row(self)).collect())
    }

    /// The prompts of a dataset with its answers in permuted order.
    pub fn permuted(mut self, make: impl Fn(&mut World, usize) -> Dataset, rows: usize) -> Dataset {
        let mut rows: Vec<Vec<Message>> =
            make(&mut self, rows).rows.into_iter().map(|row| row.messages).collect();
        for index in (1..rows.len()).rev() {
            let other = self.below(index + 1);
            let last = rows[index].len() - 1;
            let other_last = rows[other].len() - 1;
            let answer = rows[index][last].content.clone();
            rows[index][last].content =
                std::mem::replace(&mut rows[other][other_last].content, answer);
        }
        Dataset::of(rows)
    }
}
