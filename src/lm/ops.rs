//! The operations of a decoder other than matrix products, on tensors. On the CPU each is a fused
//! kernel ([`super::kernels`]). On any other device it is composed of burn operations, because
//! values must not return to the host in between.
//!
//! Both give the same numbers up to rounding. Tests compare each with transformers and PEFT
//! (`tests/it/lm.rs`), the composition on the CPU as well. Shapes: `R` rows, one per token.

mod attention;
pub mod threads;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use burn::tensor::{Device, Int, Tensor, TensorData, activation};

use super::decoder::Streams;
use super::kernels::{self, Activation, Attention, Segment};
use super::tensor::{from_host, host, with_values};

/// Which implementation is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ops {
    Fused,
    Composed,
}

/// Cosines and sines of one rotary embedding at every position, on the host.
#[derive(Debug, Clone)]
pub struct RotaryTable {
    /// Half of the rotated dimensions.
    pub half: usize,
    /// `[positions, half]`
    pub cos: Vec<f32>,
    pub sin: Vec<f32>,
}

/// Cosines and sines at the positions of some rows, on a device, `[R, 1, half]`.
#[derive(Debug, Clone)]
pub struct RotaryRows {
    half: usize,
    cos: Tensor<3>,
    sin: Tensor<3>,
}

/// What [`Ops::Composed`] derives from [`Streams`]: computed once and used by all layers.
#[derive(Debug, Default)]
pub struct DeviceCache {
    /// One entry per rotary embedding.
    rotary: OnceLock<Vec<RotaryRows>>,
    /// One entry per attention window.
    attention: Mutex<Vec<(Option<usize>, Arc<attention::PaddedSegments>)>>,
}

impl Clone for DeviceCache {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl DeviceCache {
    pub fn rotary(
        &self,
        tables: &[RotaryTable],
        positions: &[u32],
        device: &Device,
    ) -> &[RotaryRows] {
        self.rotary.get_or_init(|| {
            tables.iter().map(|table| RotaryRows::of(table, positions, device)).collect()
        })
    }

    fn attention(
        &self,
        how: &Attention,
        segments: &[Segment],
        rows: usize,
        device: &Device,
    ) -> Arc<attention::PaddedSegments> {
        let mut known = self.attention.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, padded)) = known.iter().find(|(window, _)| *window == how.window) {
            return padded.clone();
        }
        let padded = Arc::new(attention::PaddedSegments::of(segments, rows, how, device));
        known.push((how.window, padded.clone()));
        padded
    }
}

impl RotaryRows {
    fn of(rotary: &RotaryTable, positions: &[u32], device: &Device) -> Self {
        let half = rotary.half;
        let table = |values: &[f32]| -> Tensor<3> {
            let picked = positions
                .iter()
                .flat_map(|&p| &values[p as usize * half..][..half])
                .copied()
                .collect();
            from_host(picked, [positions.len(), 1, half], device)
        };
        RotaryRows { half, cos: table(&rotary.cos), sin: table(&rotary.sin) }
    }
}

impl Ops {
    pub fn of(device: &Device) -> Self {
        if *device == Device::flex() { Ops::Fused } else { Ops::Composed }
    }

    /// The padded number of rows for `rows`. A GPU keeps kernels and memory for every shape it has
    /// seen, so there should be few shapes. Above eight rows there are four per doubling, which
    /// adds at most a quarter of the rows. The CPU needs no padding.
    pub fn bucket(self, rows: usize) -> usize {
        match self {
            Ops::Fused => rows,
            Ops::Composed if rows <= 8 => rows.next_power_of_two(),
            Ops::Composed => {
                rows.next_multiple_of((rows - 1).ilog2().checked_sub(2).map_or(1, |bits| 1 << bits))
            }
        }
    }

    /// RMSNorm: `x / rms(x) * weight` `[R, width]`, and 1/rms `[R, 1]`.
    pub fn rms_norm(self, x: &Tensor<2>, weight: &[f32], epsilon: f32) -> (Tensor<2>, Tensor<2>) {
        let ([rows, width], device) = (x.dims(), x.device());
        match self {
            Ops::Fused => {
                let (mut y, mut inverse) = (threads::zeros(rows * width), vec![0.0; rows]);
                with_values(x, |x| {
                    threads::for_row_pairs(
                        (&mut y, width),
                        (&mut inverse, 1),
                        |first, y, inverse| {
                            kernels::rms_norm(
                                &x[first * width..][..y.len()],
                                weight,
                                epsilon,
                                y,
                                inverse,
                            );
                        },
                    );
                });
                (from_host(y, [rows, width], &device), from_host(inverse, [rows, 1], &device))
            }
            Ops::Composed => {
                let inverse = x.clone().square().mean_dim(1).add_scalar(epsilon).sqrt().recip();
                (x.clone() * inverse.clone() * row_vector(weight, &device), inverse)
            }
        }
    }

    /// Backward of [`Ops::rms_norm`]: `sum + dx`. Also adds to `dweight` `[width]`, unless it is
    /// empty.
    pub fn rms_norm_backward(
        self,
        dy: Tensor<2>,
        (x, inverse): (&Tensor<2>, &Tensor<2>),
        weight: &[f32],
        sum: Option<Tensor<2>>,
        dweight: &mut [f32],
    ) -> Tensor<2> {
        let (shape, device) = (dy.dims(), dy.device());
        match self {
            Ops::Fused => {
                let mut dx = sum.map_or_else(|| threads::zeros(shape[0] * shape[1]), host);
                let mut backward = |dy: &[f32], x: &[f32], inverse: &[f32]| {
                    // The gradient of the weight is a sum over the rows, in their order.
                    if !dweight.is_empty() {
                        return kernels::rms_norm_backward(
                            dy, x, weight, inverse, &mut dx, dweight,
                        );
                    }
                    threads::for_rows((&mut dx, shape[1]), |first, dx| {
                        let at = first * shape[1]..first * shape[1] + dx.len();
                        kernels::rms_norm_backward(
                            &dy[at.clone()],
                            &x[at],
                            weight,
                            &inverse[first..],
                            dx,
                            &mut [],
                        );
                    });
                };
                with_values(&dy, |dy| {
                    with_values(x, |x| with_values(inverse, |inverse| backward(dy, x, inverse)))
                });
                from_host(dx, shape, &device)
            }
            Ops::Composed => {
                if !dweight.is_empty() {
                    let along = host((dy.clone() * x.clone() * inverse.clone()).sum_dim(0));
                    kernels::add_assign(dweight, &along);
                }
                let weighted = dy * row_vector(weight, &device);
                let along =
                    (weighted.clone() * x.clone()).mean_dim(1) * inverse.clone().powi_scalar(3);
                let dx = weighted * inverse.clone() - x.clone() * along;
                sum.map_or(dx.clone(), |sum| sum + dx)
            }
        }
    }

    /// `x + added`
    pub fn add(self, x: &Tensor<2>, added: Tensor<2>) -> Tensor<2> {
        if self == Ops::Composed {
            return x.clone() + added;
        }
        let (shape, mut sum) = (x.dims(), host(added));
        let add = |x: &[f32], first: usize, sum: &mut [f32]| {
            kernels::add_assign(sum, &x[first..][..sum.len()]);
        };
        with_values(x, |x| threads::for_rows((&mut sum, 1), |first, sum| add(x, first, sum)));
        from_host(sum, shape, &x.device())
    }

    /// `activation(gate) * up`
    pub fn gated(self, kind: Activation, gate: &Tensor<2>, up: &Tensor<2>) -> Tensor<2> {
        match self {
            Ops::Fused => {
                let shape = gate.dims();
                let mut out = threads::zeros(shape[0] * shape[1]);
                let mut gated = |gate: &[f32], up: &[f32]| {
                    threads::for_rows((&mut out, 1), |first, out| {
                        kernels::gated(
                            kind,
                            &gate[first..][..out.len()],
                            &up[first..][..out.len()],
                            out,
                        );
                    });
                };
                with_values(gate, |gate| with_values(up, |up| gated(gate, up)));
                from_host(out, shape, &gate.device())
            }
            Ops::Composed => activation_and_slope(kind, gate).0 * up.clone(),
        }
    }

    /// Backward of [`Ops::gated`]: the gradients of gate and up.
    pub fn gated_backward(
        self,
        kind: Activation,
        dout: Tensor<2>,
        gate: Tensor<2>,
        up: Tensor<2>,
    ) -> [Tensor<2>; 2] {
        match self {
            Ops::Fused => {
                let (shape, device) = (gate.dims(), gate.device());
                let (mut gate, mut up) = (host(gate), host(up));
                with_values(&dout, |dout| {
                    threads::for_row_pairs((&mut gate, 1), (&mut up, 1), |first, gate, up| {
                        kernels::gated_backward(kind, &dout[first..][..gate.len()], gate, up);
                    });
                });
                [gate, up].map(|values| from_host(values, shape, &device))
            }
            Ops::Composed => {
                let (value, slope) = activation_and_slope(kind, &gate);
                [dout.clone() * up * slope, dout * value]
            }
        }
    }

    /// `cap * tanh(x / cap)`
    pub fn softcap(self, x: Tensor<2>, cap: f32) -> Tensor<2> {
        match self {
            Ops::Fused => {
                let (shape, device) = (x.dims(), x.device());
                let mut x = host(x);
                kernels::softcap(&mut x, cap);
                from_host(x, shape, &device)
            }
            Ops::Composed => x.div_scalar(cap).tanh().mul_scalar(cap),
        }
    }

    /// Backward of [`Ops::softcap`], from its output.
    pub fn softcap_backward(self, dout: Tensor<2>, capped: &Tensor<2>, cap: f32) -> Tensor<2> {
        match self {
            Ops::Fused => {
                let (shape, device) = (dout.dims(), dout.device());
                let mut dx = host(dout);
                with_values(capped, |capped| kernels::softcap_backward(&mut dx, capped, cap));
                from_host(dx, shape, &device)
            }
            Ops::Composed => dout * capped.clone().div_scalar(cap).square().neg().add_scalar(1.0),
        }
    }

    /// Cross-entropy of logits `[R, vocabulary]` with one target token per row: the losses in nats,
    /// and the gradient of their weighted sum.
    pub fn cross_entropy(
        self,
        logits: Tensor<2>,
        tokens: &[u32],
        weights: &[f32],
    ) -> (Vec<f32>, Tensor<2>) {
        let (shape, device) = (logits.dims(), logits.device());
        match self {
            Ops::Fused => {
                let mut logits = host(logits);
                let mut losses = vec![0.0; shape[0]];
                threads::for_row_pairs(
                    (&mut logits, shape[1]),
                    (&mut losses, 1),
                    |first, logits, losses| {
                        let rows = first..first + losses.len();
                        losses.copy_from_slice(&kernels::cross_entropy(
                            logits,
                            &tokens[rows.clone()],
                            &weights[rows],
                        ));
                    },
                );
                (losses, from_host(logits, shape, &device))
            }
            Ops::Composed => {
                let indices: Vec<i32> = tokens.iter().map(|&token| token as i32).collect();
                let indices =
                    Tensor::<2, Int>::from_data(TensorData::new(indices, [shape[0], 1]), &device);
                let log_probs = log_softmax(logits);
                let losses = host(log_probs.clone().gather(1, indices.clone()).neg());
                let weights: Tensor<2> = from_host(weights.to_vec(), [shape[0], 1], &device);
                // The one-hot target comes from comparing indices: a scatter would first copy the
                // whole matrix.
                let token =
                    Tensor::<1, Int>::arange(0..shape[1] as i64, &device).reshape([1, shape[1]]);
                let certain = token.equal(indices).float();
                (losses, (log_probs.exp() - certain) * weights)
            }
        }
    }

    /// Concatenates `parts` and puts row i at row `places[i]` of a matrix with `rows` rows. All
    /// other rows are zero. The places are distinct.
    pub fn scatter_rows(
        self,
        parts: Vec<Tensor<2>>,
        places: &[usize],
        rows: usize,
        device: &Device,
    ) -> Tensor<2> {
        let width = parts.first().map_or(0, |part| part.dims()[1]);
        match self {
            Ops::Fused => {
                let mut out = threads::zeros(rows * width);
                let mut places = places.iter();
                for part in parts {
                    for (row, place) in host(part).chunks_exact(width).zip(places.by_ref()) {
                        out[place * width..][..width].copy_from_slice(row);
                    }
                }
                from_host(out, [rows, width], device)
            }
            Ops::Composed => {
                let from = inverse_index(places, rows);
                let zero: Tensor<2> = Tensor::zeros([1, width], device);
                Tensor::cat(parts.into_iter().chain([zero]).collect(), 0)
                    .select(0, index_tensor(&from, device))
            }
        }
    }

    /// Causal attention over segments: `q` `[R, query width]`, `k` and `v` `[R, key/value width]`.
    /// Rows in no segment are zero.
    pub fn attention(
        self,
        q: &Tensor<2>,
        k: &Tensor<2>,
        v: &Tensor<2>,
        how: Attention,
        streams: &Streams,
    ) -> Tensor<2> {
        let segments = &streams.segments;
        match self {
            Ops::Fused => {
                let shape = q.dims();
                let mut out = threads::zeros(shape[0] * shape[1]);
                let width = shape[1];
                let mut attend = |q: &[f32], k: &[f32], v: &[f32]| {
                    threads::for_segments(
                        segments,
                        [(out.as_mut_slice(), width)],
                        |segments, first, [out]| {
                            kernels::attention(
                                &q[first * width..],
                                k,
                                v,
                                how,
                                segments,
                                first,
                                out,
                            );
                        },
                    );
                };
                with_values(q, |q| with_values(k, |k| with_values(v, |v| attend(q, k, v))));
                from_host(out, shape, &q.device())
            }
            Ops::Composed => {
                let padded = streams.cache.attention(&how, segments, q.dims()[0], &q.device());
                attention::forward(q, k, v, how, &padded)
            }
        }
    }

    /// Backward of [`Ops::attention`]: the gradients of `q`, `k` and `v`. Composed operations
    /// compute it for segments without prefixes only.
    pub fn attention_backward(
        self,
        dout: Tensor<2>,
        [q, k, v]: [&Tensor<2>; 3],
        how: Attention,
        streams: &Streams,
    ) -> [Tensor<2>; 3] {
        let segments = &streams.segments;
        match self {
            Ops::Fused => {
                let mut gradients = [q, k, v].map(|x| threads::zeros(x.dims().iter().product()));
                let [dq, dk, dv] = &mut gradients;
                let (wide, narrow) = (q.dims()[1], k.dims()[1]);
                // By the first row of a thread's segments.
                let of_prefixes = Mutex::new(BTreeMap::new());
                let mut backward = |dout: &[f32], q: &[f32], k: &[f32], v: &[f32]| {
                    let gradients = [
                        (dq.as_mut_slice(), wide),
                        (dk.as_mut_slice(), narrow),
                        (dv.as_mut_slice(), narrow),
                    ];
                    threads::for_segments(segments, gradients, |segments, first, [dq, dk, dv]| {
                        let [dout, q] = [dout, q].map(|x| &x[first * wide..]);
                        let keys: usize = segments.iter().map(Segment::before).sum();
                        let mut before = vec![0.0; 2 * keys * narrow];
                        kernels::attention_backward(
                            dout,
                            q,
                            k,
                            v,
                            how,
                            segments,
                            first,
                            dq,
                            dk,
                            dv,
                            &mut before,
                        );
                        let mut of_prefixes =
                            of_prefixes.lock().unwrap_or_else(PoisonError::into_inner);
                        of_prefixes.insert(first, before);
                    });
                };
                with_values(&dout, |dout| {
                    with_values(q, |q| {
                        with_values(k, |k| with_values(v, |v| backward(dout, q, k, v)))
                    });
                });
                // In the order of the segments, for any number of threads.
                let parts = of_prefixes.into_inner().unwrap_or_else(PoisonError::into_inner);
                let parts: Vec<f32> = parts.into_values().flatten().collect();
                let [_, dk, dv] = &mut gradients;
                attention::add_to_prefixes(segments, &parts, narrow, [dk, dv]);
                let mut shapes = [q, k, v].into_iter().map(|x| x.dims());
                gradients.map(|values| {
                    from_host(values, shapes.next().expect("three of each"), &dout.device())
                })
            }
            Ops::Composed => {
                assert!(
                    segments.iter().all(|segment| segment.prefix.is_empty()),
                    "rows packed for composed operations have no prefixes"
                );
                let padded = streams.cache.attention(&how, segments, q.dims()[0], &q.device());
                attention::backward(&dout, [q, k, v], how, &padded)
            }
        }
    }
}

/// Rotary embedding in half-split form, fused, of heads of `dim` dimensions; `[R, heads * dim]`.
/// Direction 1 rotates; -1 rotates back, which is the backward pass.
pub fn rope(
    x: Tensor<2>,
    positions: &[u32],
    rotary: &RotaryTable,
    dim: usize,
    direction: f32,
) -> Tensor<2> {
    let (shape, device) = (x.dims(), x.device());
    let mut x = host(x);
    threads::for_rows((&mut x, shape[1]), |first, x| {
        let positions = &positions[first..][..x.len() / shape[1]];
        kernels::rope(x, positions, &rotary.cos, &rotary.sin, dim, rotary.half, direction);
    });
    from_host(x, shape, &device)
}

/// [`rope`], composed of burn operations.
pub fn rope_composed(x: Tensor<2>, rotary: &RotaryRows, dim: usize, direction: f32) -> Tensor<2> {
    let (shape, half) = (x.dims(), rotary.half);
    let (cos, sin) = (rotary.cos.clone(), rotary.sin.clone().mul_scalar(direction));
    let whole: Tensor<3> = x.reshape([shape[0], shape[1] / dim, dim]);
    let (low, high) = (whole.clone().narrow(2, 0, half), whole.clone().narrow(2, half, half));
    let mut parts =
        vec![low.clone() * cos.clone() - high.clone() * sin.clone(), high * cos + low * sin];
    if dim > 2 * half {
        parts.push(whole.narrow(2, 2 * half, dim - 2 * half));
    }
    Tensor::cat(parts, 2).reshape(shape)
}

/// Log-softmax of every row, composed of burn operations.
pub fn log_softmax(logits: Tensor<2>) -> Tensor<2> {
    let shifted = logits.clone() - reduce_in_parts(logits, |part| part.max_dim(1));
    let total = reduce_in_parts(shifted.clone().exp(), |part| part.sum_dim(1)).log();
    shifted - total
}

/// Reduces every row to one number, `[R, 1]`, in two stages. A GPU would reduce one long row
/// sequentially, and a vocabulary is long.
fn reduce_in_parts(x: Tensor<2>, reduce: impl Fn(Tensor<2>) -> Tensor<2>) -> Tensor<2> {
    let [rows, width] = x.dims();
    let part = 1 << width.trailing_zeros().min(9);
    if part < 16 {
        return reduce(x);
    }
    reduce(reduce(x.reshape([rows * (width / part), part])).reshape([rows, width / part]))
}

/// An activation and its derivative.
fn activation_and_slope(kind: Activation, gate: &Tensor<2>) -> (Tensor<2>, Tensor<2>) {
    let g = || gate.clone();
    match kind {
        Activation::Silu => {
            let s = activation::sigmoid(g());
            let slope = s.clone() * (g() * s.clone().neg().add_scalar(1.0)).add_scalar(1.0);
            (g() * s, slope)
        }
        Activation::GeluTanh => {
            // As in the kernel: g * sigmoid(2u), u = sqrt(2/pi) (g + 0.044715 g^3).
            let (twice_root, cube) = ((8.0 / std::f64::consts::PI).sqrt(), 0.044_715);
            let s = activation::sigmoid(
                (g() + g().powi_scalar(3).mul_scalar(cube)).mul_scalar(twice_root),
            );
            let inner = g().square().mul_scalar(3.0 * cube).add_scalar(1.0).mul_scalar(twice_root);
            let slope = s.clone() + g() * s.clone() * s.clone().neg().add_scalar(1.0) * inner;
            (g() * s, slope)
        }
    }
}

/// A vector as `[1, width]`.
fn row_vector(values: &[f32], device: &Device) -> Tensor<2> {
    from_host(values.to_vec(), [1, values.len()], device)
}

/// Inverts `places`: for each of `rows` rows its index in `places`, or `places.len()` if it is
/// absent. That index refers to an extra row of zeros.
fn inverse_index(places: &[usize], rows: usize) -> Vec<i32> {
    let mut from = vec![places.len() as i32; rows];
    places.iter().enumerate().for_each(|(row, &place)| from[place] = row as i32);
    from
}

fn index_tensor(rows: &[i32], device: &Device) -> Tensor<1, Int> {
    Tensor::from_data(TensorData::new(rows.to_vec(), [rows.len()]), device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_are_reduced_in_parts_give_what_whole_rows_give() {
        // Widths that divide into many parts, into one part, and not at all.
        for width in [1536, 512, 17] {
            let numbers = (0..3 * width).map(|at| ((at * 37 % 101) as f32 - 50.0) / 5.0).collect();
            let logits: Tensor<2> = from_host(numbers, [3, width], &Device::flex());
            let off = host(log_softmax(logits.clone()) - activation::log_softmax(logits, 1));
            assert!(off.iter().all(|off| off.abs() < 1e-5), "{width}");
        }
    }

    #[test]
    fn buckets_hold_all_rows_and_are_few() {
        let mut shapes = std::collections::BTreeSet::new();
        for rows in 1..=4096 {
            let bucket = Ops::Composed.bucket(rows);
            assert!(
                bucket >= rows && (rows <= 8 || 4 * (bucket - rows) <= rows),
                "{rows}: {bucket}"
            );
            assert_eq!(Ops::Composed.bucket(bucket), bucket);
            assert_eq!(Ops::Fused.bucket(rows), rows);
            shapes.insert(bucket);
        }
        assert_eq!(shapes.len(), 40, "{shapes:?}");
    }
}
