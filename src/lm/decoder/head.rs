//! The output head: logits, and log-probabilities of tokens.

use burn::tensor::{Int, Tensor, TensorData};

use super::Decoder;
use crate::lm::kernels;
use crate::lm::ops::{Ops, log_softmax, threads};
use crate::lm::tensor::host;

/// Logit values of some columns of the vocabulary that are computed at a time, and the minimum
/// number of columns.
const COLUMNS_AT_MOST: usize = 16 << 20;
const FEWEST_COLUMNS: usize = 1024;

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
        if self.lm_head.is_tiled() {
            return self.log_probs_by_columns(hidden, &by_row);
        }
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

    /// [`Decoder::log_probs`] with some columns of the vocabulary at a time and all rows, so that
    /// each weight is packed into tiles once.
    fn log_probs_by_columns(&self, hidden: &Tensor<2>, asked: &[&[(usize, u32)]]) -> Vec<f64> {
        let rows: Vec<usize> = asked.iter().map(|asked| asked[0].0).collect();
        let (normed, _) = self.rms_norm(&self.select(hidden, &rows), &self.norm);
        let vocabulary = self.config.vocab_size;
        let columns = (COLUMNS_AT_MOST / rows.len().max(1)).max(FEWEST_COLUMNS).min(vocabulary);
        let mut totals = vec![f64::NEG_INFINITY; rows.len()];
        let mut found: Vec<Vec<f64>> = asked.iter().map(|asked| vec![0.0; asked.len()]).collect();
        for first in (0..vocabulary).step_by(columns) {
            let part = first..vocabulary.min(first + columns);
            let logits = self.capped(self.lm_head.apply_rows(&normed, part.clone()));
            let (mut logits, mut sums) = (host(logits), vec![0.0; rows.len()]);
            threads::for_row_pairs((&mut logits, part.len()), (&mut sums, 1), |_, logits, sums| {
                sums.copy_from_slice(&kernels::log_sum_exp(logits, part.len()));
            });
            let by_row = logits.chunks_exact(part.len()).zip(sums).zip(asked);
            for (((row, sum), asked), (total, found)) in
                by_row.zip(totals.iter_mut().zip(&mut found))
            {
                let (sum, top) = (f64::from(sum), total.max(f64::from(sum)));
                *total = top + ((*total - top).exp() + (sum - top).exp()).ln();
                for ((_, token), found) in asked.iter().zip(found) {
                    if part.contains(&(*token as usize)) {
                        *found = f64::from(row[*token as usize - first]);
                    }
                }
            }
        }
        let rows = found.iter().zip(totals);
        rows.flat_map(|(found, total)| found.iter().map(move |logit| logit - total)).collect()
    }

    /// `[bucket, vocabulary]`: padding repeats the last row.
    fn logits_of(&self, hidden: &Tensor<2>, rows: &[usize]) -> Tensor<2> {
        let (normed, _) =
            self.rms_norm(&self.select(hidden, &self.pad_to_bucket(rows)), &self.norm);
        self.head(&normed)
    }

    /// `[rows, vocabulary]`, soft-capped if the family does so.
    pub(super) fn head(&self, normed: &Tensor<2>) -> Tensor<2> {
        self.capped(self.lm_head.apply(normed))
    }

    fn capped(&self, logits: Tensor<2>) -> Tensor<2> {
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
