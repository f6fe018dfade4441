//! The output head: logits, and log-probabilities of tokens.

use burn::tensor::{Int, Tensor, TensorData};

use super::Decoder;
use crate::lm::kernels;
use crate::lm::ops::{Ops, log_softmax, threads};
use crate::lm::tensor::host;

impl Decoder {
    /// The number of rows whose logits are computed at a time.
    pub(super) fn logits_at_once(&self) -> usize {
        (self.logits_at_most / self.config.vocab_size).max(1)
    }

    /// Logits `[rows.len(), vocabulary]` of the given rows of [`Decoder::hidden`]'s result, in
    /// chunks. `take` gets the index of a chunk's first row and its logits.
    pub fn logits(
        &self,
        hidden: &Tensor<2>,
        rows: &[usize],
        mut take: impl FnMut(usize, Vec<f32>),
    ) {
        let at_once = self.logits_at_once();
        for (chunk, rows) in rows.chunks(at_once).enumerate() {
            let mut logits = host(self.logits_of(hidden, rows));
            logits.truncate(rows.len() * self.config.vocab_size);
            take(chunk * at_once, logits);
        }
    }

    /// Log-probabilities in nats of tokens that follow rows of [`Decoder::hidden`]'s result.
    /// `asked` is sorted by row; a row may occur more than once.
    pub fn log_probs(&self, hidden: &Tensor<2>, asked: &[(usize, u32)]) -> Vec<f64> {
        // A row's logits are computed once.
        let by_row: Vec<&[(usize, u32)]> = asked.chunk_by(|a, b| a.0 == b.0).collect();
        let mut found = Vec::with_capacity(asked.len());
        for chunk in by_row.chunks(self.logits_at_once()) {
            let rows: Vec<usize> = chunk.iter().map(|asked| asked[0].0).collect();
            let logits = self.logits_of(hidden, &rows);
            match self.ops {
                Ops::Fused => found.extend(log_probs_on_cpu(host(logits), chunk)),
                Ops::Composed => found.extend(log_probs_on_device(logits, chunk)),
            }
        }
        found
    }

    /// `[bucket, vocabulary]`: padding repeats the last row.
    fn logits_of(&self, hidden: &Tensor<2>, rows: &[usize]) -> Tensor<2> {
        let (normed, _) =
            self.rms_norm(&self.select(hidden, &self.pad_to_bucket(rows)), &self.norm);
        self.head(&normed)
    }

    /// `[rows, vocabulary]`, soft-capped if the family does so.
    pub(super) fn head(&self, normed: &Tensor<2>) -> Tensor<2> {
        let logits = self.lm_head.apply(normed);
        match self.config.final_softcap {
            Some(cap) => self.ops.softcap(logits, cap),
            None => logits,
        }
    }
}

fn log_probs_on_cpu(mut logits: Vec<f32>, asked: &[&[(usize, u32)]]) -> Vec<f64> {
    let vocabulary = logits.len() / asked.len();
    let mut totals = vec![0.0; asked.len()];
    threads::for_row_pairs((&mut logits, vocabulary), (&mut totals, 1), |_, logits, totals| {
        totals.copy_from_slice(&kernels::log_sum_exp(logits, vocabulary));
    });
    let rows = logits.chunks_exact(vocabulary).zip(totals).zip(asked);
    rows.flat_map(|((row, total), asked)| {
        asked.iter().map(move |(_, token)| f64::from(row[*token as usize]) - f64::from(total))
    })
    .collect()
}

/// The logits stay on the device; only the requested values are copied to the host.
fn log_probs_on_device(logits: Tensor<2>, asked: &[&[(usize, u32)]]) -> Vec<f64> {
    let ([rows, vocabulary], device) = (logits.dims(), logits.device());
    let places: Vec<i32> = asked
        .iter()
        .enumerate()
        .flat_map(|(row, asked)| {
            asked.iter().map(move |(_, token)| (row * vocabulary) as i32 + *token as i32)
        })
        .collect();
    let count = places.len();
    let places = Tensor::<1, Int>::from_data(TensorData::new(places, [count]), &device);
    let log_probs: Tensor<1> = log_softmax(logits).reshape([rows * vocabulary]);
    host(log_probs.select(0, places)).into_iter().map(f64::from).collect()
}
