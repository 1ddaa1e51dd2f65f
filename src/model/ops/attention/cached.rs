//! Attention of new rows over what their sequence has seen before. Many new rows (a prompt) are
//! blocks of matrix products as in training; few go key by key, and nothing is copied for them.

use std::ops::Range;

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::super::few_rows::strided;
use super::super::lanes::{exponentials, wide};
use super::super::matmul::View;
use super::super::read;
use super::{Attention, Head};

/// New rows of a sequence up to which they go key by key.
const FEW: usize = 8;
/// Products below which other threads are not worth waking.
const PARALLEL: usize = 1 << 19;
/// Rows that a cache grows by: a doubling one would hold up to twice what was planned for.
const ROOM: usize = 64;
/// Lanes in which probabilities are summed.
const LANES: usize = 16;

/// Keys (rotated) and values of one layer of one sequence, for generation.
#[derive(Debug, Default)]
pub struct Past {
    keys: Vec<f32>,
    values: Vec<f32>,
    #[cfg(feature = "cuda")]
    on_card: Option<super::super::cuda::attention::Past>,
}

impl Past {
    /// A copy of what the first `len` tokens left; their keys and values are `width` wide.
    pub fn beginning(&self, len: usize, width: usize) -> Result<Past> {
        let begin = |rows: &[f32]| rows[..(len * width).min(rows.len())].to_vec();
        Ok(Past {
            keys: begin(&self.keys),
            values: begin(&self.values),
            #[cfg(feature = "cuda")]
            on_card: self.on_card.as_ref().map(|past| past.beginning(len)).transpose()?,
        })
    }
}

fn append(past: &mut Vec<f32>, rows: &[f32], width: usize) {
    if past.capacity() < past.len() + rows.len() {
        past.reserve_exact(rows.len() + ROOM * width);
    }
    past.extend_from_slice(rows);
}

/// Attention of new rows over what each sequence has seen before them, which they then join.
/// `shape.sequences` are the new rows of each sequence; `pasts` its layer cache. No gradient.
pub fn attend(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    shape: &Attention,
    pasts: &mut [&mut Past],
) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if q.device().is_cuda() {
        if shape.window.is_some() {
            candle_core::bail!("generation with a sliding window is not on the card yet");
        }
        let pasts = pasts.iter_mut().map(|past| &mut past.on_card);
        return super::super::cuda::attention::attend(q, k, v, shape, pasts);
    }
    let out = read(q, |q| read(k, |k| read(v, |v| on_cpu(q, k, v, shape, pasts))))???;
    Tensor::from_vec(out, q.shape(), q.device())
}

fn on_cpu(q: &[f32], k: &[f32], v: &[f32], shape: &Attention, pasts: &mut [&mut Past]) -> Vec<f32> {
    let (q_width, kv_width) = (shape.heads * shape.dim, shape.kv_heads * shape.dim);
    let group = shape.heads / shape.kv_heads;
    let mut queries = q.to_vec();
    let mut products = 0;
    for (new, past) in shape.sequences.iter().zip(pasts.iter_mut()) {
        let (before, rows) = (past.keys.len() / kv_width, new.start * kv_width..new.end * kv_width);
        append(&mut past.values, &v[rows.clone()], kv_width);
        append(&mut past.keys, &k[rows], kv_width);
        let keys = past.keys[before * kv_width..].par_chunks_mut(kv_width);
        let queries = queries[new.start * q_width..new.end * q_width].par_chunks_mut(q_width);
        let both = queries.zip(keys).enumerate().with_min_len(16);
        both.for_each(|(i, (query, key))| {
            shape.rotary.turn(query, before + i, false);
            shape.rotary.turn(key, before + i, false);
        });
        products += new.len() * (before + new.len()) * q_width;
    }
    let heads = 0..shape.kv_heads;
    let both = shape.sequences.iter().zip(pasts.iter().map(|past| &**past));
    let tasks: Vec<(&Range<usize>, &Past, usize)> =
        both.flat_map(|(new, past)| heads.clone().map(move |kv| (new, past, kv))).collect();
    // What the queries of one sequence that share a key head see: [new, group · dim].
    let each = |(new, past, kv): &(&Range<usize>, &Past, usize)| {
        let mut part = vec![0f32; new.len() * group * shape.dim];
        let (at, kv_at) = (new.start * q_width + kv * group * shape.dim, kv * shape.dim);
        let before = past.keys.len() / kv_width - new.len();
        if new.len() <= FEW {
            let mut scores = Vec::new();
            for (i, out) in part.chunks_exact_mut(group * shape.dim).enumerate() {
                let q = &queries[at + i * q_width..][..group * shape.dim];
                let until = before + i + 1;
                let from = until.saturating_sub(shape.window.unwrap_or(usize::MAX));
                let seen = from * kv_width + kv_at;
                let see = Seen {
                    keys: &past.keys[seen..],
                    values: &past.values[seen..],
                    stride: kv_width,
                    count: until - from,
                    dim: shape.dim,
                };
                see.mix(q, &mut scores, out);
            }
            return part;
        }
        let view = |values, rows| View { values, rows, columns: 1 };
        for nth in 0..group {
            let head = Head {
                queries: view(&queries[at + nth * shape.dim..], q_width),
                keys: view(&past.keys[kv_at..], kv_width),
                values: view(&past.values[kv_at..], kv_width),
                past: before,
                dim: shape.dim,
                window: shape.window.unwrap_or(usize::MAX),
            };
            head.forward(new.len(), &mut part[nth * shape.dim..], group * shape.dim);
        }
        part
    };
    let parts: Vec<Vec<f32>> = match products < PARALLEL {
        true => tasks.iter().map(each).collect(),
        false => tasks.par_iter().map(each).collect(),
    };
    let mut out = queries;
    for ((new, _, kv), part) in tasks.iter().zip(&parts) {
        Attention::scatter(&mut out, q_width, new, kv * group * shape.dim, part);
    }
    out
}

/// The keys and values of one head that a row sees.
struct Seen<'a> {
    keys: &'a [f32],
    values: &'a [f32],
    stride: usize,
    count: usize,
    dim: usize,
}

impl Seen<'_> {
    /// What the queries `q` ([group, dim]) take from the values.
    fn mix(&self, q: &[f32], scores: &mut Vec<f32>, out: &mut [f32]) {
        scores.resize(q.len() / self.dim * self.count, 0.0);
        strided(q, (self.keys, self.stride), (self.dim, self.count), scores);
        let scale = 1.0 / (self.dim as f32).sqrt();
        let rows = scores.chunks_exact_mut(self.count);
        for (p, out) in rows.zip(out.chunks_exact_mut(self.dim)) {
            let share = 1.0 / exponentials(p, scale);
            weigh(p, share, self.values, self.stride, out);
        }
    }
}

/// The sum of rows `stride` apart, each by its share of the whole.
fn weigh(p: &[f32], share: f32, values: &[f32], stride: usize, out: &mut [f32]) {
    wide(
        #[inline(always)]
        || {
            let (parts, rest) = out.as_chunks_mut::<{ 4 * LANES }>();
            for (nth, out) in parts.iter_mut().enumerate() {
                columns(p, share, (values, stride), nth * 4 * LANES, out);
            }
            let mut at = parts.len() * 4 * LANES;
            let (parts, rest) = rest.as_chunks_mut::<LANES>();
            for out in parts {
                columns(p, share, (values, stride), at, out);
                at += LANES;
            }
            for (i, out) in rest.as_chunks_mut::<1>().0.iter_mut().enumerate() {
                columns(p, share, (values, stride), at + i, out);
            }
        },
    );
}

/// `W` columns of it, from `at` on.
#[inline(always)]
fn columns<const W: usize>(
    p: &[f32],
    share: f32,
    (values, stride): (&[f32], usize),
    at: usize,
    out: &mut [f32; W],
) {
    let mut sums = [0f32; W];
    for (j, p) in p.iter().enumerate() {
        let row: &[f32] = &values[j * stride + at..][..W];
        for i in 0..W {
            sums[i] += p * row[i];
        }
    }
    for i in 0..W {
        out[i] = sums[i] * share;
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{difference, normal};
    use super::super::tests::shape;
    use super::super::{attention, reference};
    use super::*;
    use crate::chance::Chance;

    /// New rows, one part after the other, of sequences that began earlier.
    #[test]
    fn cached_attention_equals_attention_over_the_whole() {
        let mut chance = Chance::new(2, "attention");
        let n = 29;
        for (dim, window) in [(6, None), (6, Some(3)), (64, None), (80, None), (80, Some(5))] {
            let mut of = |heads: usize| normal(&mut chance, &[n, heads * dim]);
            let (q, k, v) = (of(4), of(2), of(2));
            let shape = |len: usize| shape(&[len], window, dim);
            let whole = attention(&q, &k, &v, &shape(n)).unwrap();
            assert!(difference(&whole, &reference(&q, &k, &v, &shape(n)).unwrap()) < 1e-5);
            let mut past = Past::default();
            let mut parts = Vec::new();
            for (from, len) in [(0, 4), (4, 1), (5, 12), (17, 3), (20, 1), (21, 8)] {
                let cut = |t: &Tensor| t.narrow(0, from, len).unwrap();
                let part = attend(&cut(&q), &cut(&k), &cut(&v), &shape(len), &mut [&mut past]);
                parts.push(part.unwrap());
                // What a copy knows is all that is needed.
                past = past.beginning(from + len, 2 * dim).unwrap();
            }
            let parts = Tensor::cat(&parts, 0).unwrap();
            assert!(difference(&parts, &whole) < 1e-5, "{dim} {window:?}");
        }
    }

    #[test]
    fn sequences_beside_each_other_do_not_meet() {
        let mut chance = Chance::new(3, "attention");
        let mut of = |heads: usize| normal(&mut chance, &[6, heads * 6]);
        let (q, k, v) = (of(4), of(2), of(2));
        let run = |rows: Range<usize>, pasts: &mut [&mut Past], lengths: &[usize]| {
            let cut = |t: &Tensor| t.narrow(0, rows.start, rows.len()).unwrap();
            attend(&cut(&q), &cut(&k), &cut(&v), &shape(lengths, None, 6), pasts).unwrap()
        };
        let (mut a, mut b) = (Past::default(), Past::default());
        let together =
            [run(0..4, &mut [&mut a, &mut b], &[1, 3]), run(4..6, &mut [&mut a, &mut b], &[1, 1])];
        let (mut a, mut b) = (Past::default(), Past::default());
        let alone = [
            run(0..1, &mut [&mut a], &[1]),
            run(1..4, &mut [&mut b], &[3]),
            run(4..5, &mut [&mut a], &[1]),
            run(5..6, &mut [&mut b], &[1]),
        ];
        let [together, alone] =
            [&together[..], &alone[..]].map(|parts| Tensor::cat(parts, 0).unwrap());
        assert_eq!(difference(&together, &alone), 0.0);
    }
}
