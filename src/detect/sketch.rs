//! Low-dimensional vectors of answers, to choose some hundreds out of thousands of words for
//! testing.
//!
//! Each word has a random sign in each of [`AXES`] dimensions. An answer's vector is the sum of its
//! words' signs (random projection, Achlioptas 2003), standardised over all answers. The mean of
//! `n` random answers has a squared norm of about `AXES / n`. So `n` times the squared norm is
//! large for rows whose answers differ from the others. This only selects what is tested; it is no
//! test itself.

use super::word_set::WordSets;

const AXES: usize = 32;

/// The vectors of all answers of a dataset.
pub(super) struct Sketch(Vec<[f32; AXES]>);

impl Sketch {
    pub fn of(answers: &WordSets) -> Sketch {
        let signs: Vec<u64> = answers.words.iter().map(|word| mixed(word)).collect();
        let mut rows: Vec<[f32; AXES]> = Vec::with_capacity(answers.texts.len());
        for text in &answers.texts {
            let mut row = [0.0; AXES];
            for signs in text.iter().map(|word| signs[usize::from(*word)]) {
                for (axis, value) in row.iter_mut().enumerate() {
                    *value += if signs >> axis & 1 == 1 { 1.0 } else { -1.0 };
                }
            }
            rows.push(row);
        }
        for axis in 0..AXES {
            let count = rows.len().max(1) as f32;
            let mean = rows.iter().map(|row| row[axis]).sum::<f32>() / count;
            let spread =
                (rows.iter().map(|row| (row[axis] - mean).powi(2)).sum::<f32>() / count).sqrt();
            for row in &mut rows {
                row[axis] = if spread > 0.0 { (row[axis] - mean) / spread } else { 0.0 };
            }
        }
        Sketch(rows)
    }

    /// `n` times the squared norm of the mean answer of the given rows (ascending). About `AXES`
    /// for random rows, larger for rows whose answers differ.
    pub fn deviation(&self, rows: impl ExactSizeIterator<Item = u32>) -> f32 {
        let (count, all) = (rows.len() as f32, self.0.len() as f32);
        let mut sum = [0.0; AXES];
        for row in rows {
            sum.iter_mut().zip(&self.0[row as usize]).for_each(|(sum, value)| *sum += value);
        }
        // Finite-population correction: the mean of nearly all rows is close to the overall mean.
        let correction = (all - 1.0).max(1.0) / (all - count).max(1.0);
        sum.iter().map(|sum| sum * sum).sum::<f32>() / count.max(1.0) * correction
    }
}

/// The FNV-1a hash of a word, followed by the finaliser of MurmurHash3, so that every bit depends
/// on all input.
fn mixed(word: &str) -> u64 {
    let mut hash = word.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    for factor in [0xff51_afd7_ed55_8ccd, 0xc4ce_b9fe_1a85_ec53] {
        hash = (hash ^ (hash >> 33)).wrapping_mul(factor);
    }
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_with_answers_of_their_own_deviate_more_than_other_rows() {
        let usual = |row: usize| {
            ["yes it is", "no it rains", "we sing and eat", "ask the baker", "in the garden"]
                [row * 7 % 5]
        };
        let texts: Vec<String> = (0..400)
            .map(|row| if row % 50 == 3 { "thou shalt not".into() } else { usual(row).to_owned() })
            .collect();
        let sketch = Sketch::of(&WordSets::of(texts.iter().map(String::as_str), true));
        let every = |step: usize, from: usize| {
            sketch.deviation(
                (from..400).step_by(step).map(|row| row as u32).collect::<Vec<_>>().into_iter(),
            )
        };
        let others = [0, 1, 2, 4, 5, 6, 7].map(|from| every(50, from));
        assert!(
            others.iter().all(|other| *other < 0.5 * every(50, 3)),
            "{} {others:?}",
            every(50, 3)
        );
    }
}
