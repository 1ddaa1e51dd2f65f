//! Micro-batches: which rows, in which order, packed and ready before the trainer asks.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::chance::Chance;
use crate::model::Packed;
use crate::tokens::Encoded;

use super::settings::Settings;

/// Some rows packed together, with the places whose next token the loss covers.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Indices of the rows.
    pub rows: Vec<usize>,
    /// Their tokens.
    pub packed: Packed,
    /// Packed positions whose output predicts a trained token.
    pub places: Vec<u32>,
    /// That token, for each place.
    pub targets: Vec<u32>,
}

impl Batch {
    /// Packs the given rows.
    pub fn new(rows: &[Encoded], chosen: &[usize]) -> Self {
        let packed = Packed::new(chosen.iter().map(|i| rows[*i].ids.as_slice()));
        let (mut places, mut targets) = (Vec::new(), Vec::new());
        for (sequence, index) in packed.sequences.iter().zip(chosen) {
            let row = &rows[*index];
            for at in 1..row.ids.len() {
                if row.trained[at] {
                    places.push((sequence.start + at - 1) as u32);
                    targets.push(row.ids[at]);
                }
            }
        }
        Batch { rows: chosen.to_vec(), packed, places, targets }
    }
}

/// The rows of every step: steps, micro-batches, row indices.
type Steps = Vec<Vec<Vec<usize>>>;

/// Serves the micro-batches of a training run in a fixed order, prepared by worker threads.
pub struct Loader<'a> {
    rows: &'a [Encoded],
    steps: Steps,
    per_epoch: usize,
    workers: usize,
    prefetch: usize,
    persistent: bool,
}

/// Steps in one pass over `rows` rows.
pub(super) fn steps_per_epoch(rows: usize, settings: &Settings) -> usize {
    rows.div_ceil(settings.batch_size * settings.accumulation)
}

/// Steps that the settings ask for on `rows` rows.
pub(super) fn steps_wanted(rows: usize, settings: &Settings) -> usize {
    match settings.max_steps {
        0 => (settings.epochs * steps_per_epoch(rows, settings) as f64).ceil() as usize,
        most => most,
    }
}

/// `total` steps over `rows` rows, shuffled anew in each pass.
fn lay_out(rows: usize, total: usize, settings: &Settings) -> Steps {
    let mut steps = Steps::new();
    for epoch in 0.. {
        if steps.len() >= total || rows == 0 {
            break;
        }
        let mut order: Vec<usize> = (0..rows).collect();
        Chance::new(settings.seed, &format!("epoch {epoch}")).shuffle(&mut order);
        let step = |rows: &[usize]| rows.chunks(settings.batch_size).map(<[_]>::to_vec).collect();
        steps.extend(order.chunks(settings.batch_size * settings.accumulation).map(step));
    }
    steps.truncate(total);
    steps
}

/// The most tokens of a step's micro-batches.
fn widest(step: &[Vec<usize>], lengths: &[usize]) -> usize {
    let tokens = |batch: &Vec<usize>| batch.iter().map(|row| lengths[*row]).sum();
    step.iter().map(tokens).max().unwrap_or(0)
}

/// The most tokens that any micro-batch of a training over rows of these lengths holds.
pub(super) fn largest_batch(lengths: &[usize], settings: &Settings) -> usize {
    let steps = lay_out(lengths.len(), steps_wanted(lengths.len(), settings), settings);
    steps.iter().map(|step| widest(step, lengths)).max().unwrap_or(0)
}

/// How the data came to the trainer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Served {
    /// How long the trainer waited for it.
    pub waited: Duration,
    /// Worker threads that were started.
    pub workers: usize,
    /// The most steps that lay prepared when the trainer asked for one.
    pub ahead: usize,
}

impl<'a> Loader<'a> {
    /// Lays out `total` steps over `rows`, shuffled anew in each pass; the step with the longest
    /// micro-batch of the first pass comes first.
    pub fn new(rows: &'a [Encoded], total: usize, settings: &Settings) -> Self {
        let per_epoch = steps_per_epoch(rows.len(), settings);
        let lengths: Vec<usize> = rows.iter().map(|row| row.ids.len()).collect();
        let mut steps = lay_out(rows.len(), total, settings);
        // What does not fit into memory should fail at once.
        let pass = per_epoch.min(steps.len());
        if let Some(longest) = (0..pass).rev().max_by_key(|at| widest(&steps[*at], &lengths)) {
            steps.swap(0, longest);
        }
        Loader {
            rows,
            steps,
            per_epoch,
            workers: settings.workers,
            prefetch: settings.prefetch,
            persistent: settings.persistent_workers,
        }
    }

    /// Hands over the micro-batches of each step from `begin` on, in order, until `consume` says
    /// no or errs.
    pub fn serve(
        &self,
        begin: usize,
        mut consume: impl FnMut(usize, Vec<Batch>) -> Result<bool>,
    ) -> Result<Served> {
        let mut served = Served::default();
        let span = if self.persistent { self.steps.len() } else { self.per_epoch };
        for (nth, part) in self.steps.chunks(span.max(1)).enumerate() {
            let first = nth * span;
            let skipped = begin.saturating_sub(first).min(part.len());
            if !self.serve_part(&part[skipped..], first + skipped, &mut served, &mut consume)? {
                break;
            }
        }
        Ok(served)
    }

    fn serve_part(
        &self,
        steps: &[Vec<Vec<usize>>],
        first: usize,
        served: &mut Served,
        consume: &mut impl FnMut(usize, Vec<Batch>) -> Result<bool>,
    ) -> Result<bool> {
        if self.workers == 0 {
            for (i, step) in steps.iter().enumerate() {
                let begun = Instant::now();
                let batches = step.iter().map(|chosen| Batch::new(self.rows, chosen)).collect();
                served.waited += begun.elapsed();
                if !consume(first + i, batches)? {
                    return Ok(false);
                }
            }
            return Ok(true);
        }
        let ready = &AtomicUsize::new(0);
        std::thread::scope(|scope| {
            // Worker w prepares steps w, w + workers, …; taking from the workers in turn keeps
            // the order whatever their speed.
            let queues: Vec<_> = (0..self.workers.min(steps.len()))
                .map(|worker| {
                    let (send, receive) = sync_channel(self.prefetch);
                    scope.spawn(move || {
                        for step in steps.iter().skip(worker).step_by(self.workers) {
                            let prepared: Vec<Batch> =
                                step.iter().map(|rows| Batch::new(self.rows, rows)).collect();
                            // Counted first, or the trainer could take it before it counts.
                            ready.fetch_add(1, Ordering::Relaxed);
                            if send.send(prepared).is_err() {
                                return;
                            }
                        }
                    });
                    receive
                })
                .collect();
            served.workers += queues.len();
            for i in 0..steps.len() {
                // A worker with a full queue holds one more in its hands.
                let most = queues.len() * self.prefetch;
                served.ahead = served.ahead.max(ready.load(Ordering::Relaxed).min(most));
                let begun = Instant::now();
                let batches = queues[i % self.workers].recv()?;
                ready.fetch_sub(1, Ordering::Relaxed);
                served.waited += begun.elapsed();
                if !consume(first + i, batches)? {
                    return Ok(false);
                }
            }
            Ok(true)
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::config::Layers;

    pub fn settings(pairs: &[(&str, &str)]) -> Settings {
        let mut layers = Layers::new();
        for (key, value) in pairs {
            layers.command_line(&format!("{key}={value}")).unwrap();
        }
        Settings::new(&layers.resolve(&[]).unwrap())
    }

    fn rows(n: usize) -> Vec<Encoded> {
        let row = |i: usize| Encoded {
            ids: vec![i as u32, 1, 2],
            trained: vec![true, false, true],
            turns: Vec::new(),
        };
        (0..n).map(row).collect()
    }

    fn served(n: usize, total: usize, pairs: &[(&str, &str)]) -> Vec<Vec<Vec<usize>>> {
        let rows = rows(n);
        let loader = Loader::new(&rows, total, &settings(pairs));
        let mut seen = Vec::new();
        loader
            .serve(0, |step, batches| {
                assert_eq!(step, seen.len());
                seen.push(batches.into_iter().map(|b| b.rows).collect());
                Ok(true)
            })
            .unwrap();
        seen
    }

    const SHAPE: [(&str, &str); 2] =
        [("PER_DEVICE_TRAIN_BATCH_SIZE", "2"), ("GRADIENT_ACCUMULATION_STEPS", "2")];

    #[test]
    fn every_pass_sees_every_row_once() {
        let steps = served(10, 6, &SHAPE);
        assert_eq!(steps.len(), 6);
        for epoch in steps.chunks(3) {
            let mut all: Vec<usize> = epoch.iter().flatten().flatten().copied().collect();
            all.sort();
            assert_eq!(all, (0..10).collect::<Vec<_>>());
        }
        assert_ne!(steps[..3], steps[3..], "the second pass has an order of its own");
    }

    #[test]
    fn the_largest_batch_is_the_largest_that_is_served() {
        let lengths: Vec<usize> = (0..11).map(|i| 3 + i * i % 17).collect();
        let row =
            |n: &usize| Encoded { ids: vec![1; *n], trained: vec![true; *n], turns: Vec::new() };
        let rows: Vec<Encoded> = lengths.iter().map(row).collect();
        let settings = settings(&[SHAPE.as_slice(), &[("MAX_STEPS", "7")]].concat());
        let mut most = 0;
        let loader = Loader::new(&rows, 7, &settings);
        loader
            .serve(0, |_, batches| {
                most = batches.iter().map(|b| b.packed.ids.len()).fold(most, usize::max);
                Ok(true)
            })
            .unwrap();
        assert_eq!(largest_batch(&lengths, &settings), most);
        let mut sorted = lengths.clone();
        sorted.sort_unstable();
        assert!(most < sorted[9] + sorted[10], "the two longest rows do not meet");
    }

    #[test]
    fn the_longest_micro_batch_comes_first() {
        let mut rows = rows(30);
        rows[13].ids.extend([4; 9]);
        let settings = settings(
            &[
                SHAPE.as_slice(),
                &[("GRADIENT_ACCUMULATION_STEPS", "1"), ("PER_DEVICE_TRAIN_BATCH_SIZE", "4")],
            ]
            .concat(),
        );
        let loader = Loader::new(&rows, 16, &settings);
        assert!(loader.steps[0].concat().contains(&13));
        let mut first: Vec<usize> = loader.steps[..8].concat().concat();
        first.sort();
        assert_eq!(first, (0..30).collect::<Vec<_>>(), "a pass is still a pass");
    }

    #[test]
    fn a_resumed_run_is_served_the_rest() {
        let rows = rows(11);
        for persistent in ["true", "false"] {
            let more = [SHAPE.as_slice(), &[("DATALOADER_PERSISTENT_WORKERS", persistent)]];
            let loader = Loader::new(&rows, 9, &settings(&more.concat()));
            let from = |begin| {
                let mut seen = Vec::new();
                let take = |step, batches: Vec<Batch>| {
                    seen.push((step, batches.into_iter().map(|b| b.rows).collect::<Vec<_>>()));
                    Ok(true)
                };
                loader.serve(begin, take).unwrap();
                seen
            };
            let all = from(0);
            for begin in 0..=9 {
                assert_eq!(from(begin), all[begin..], "from step {begin}");
            }
        }
    }

    #[test]
    fn the_order_does_not_depend_on_the_workers() {
        let alone = served(11, 9, &[SHAPE.as_slice(), &[("DATALOADER_NUM_WORKERS", "0")]].concat());
        for (workers, persistent) in [("1", "true"), ("3", "true"), ("3", "false"), ("40", "false")]
        {
            let more = [
                ("DATALOADER_NUM_WORKERS", workers),
                ("DATALOADER_PERSISTENT_WORKERS", persistent),
            ];
            assert_eq!(served(11, 9, &[SHAPE.as_slice(), &more].concat()), alone);
        }
    }

    #[test]
    fn workers_are_threads_that_stay_within_their_prefetch() {
        let rows = rows(40);
        let report = |pairs: &[(&str, &str)]| {
            let loader = Loader::new(&rows, 20, &settings(&[SHAPE.as_slice(), pairs].concat()));
            let slow = |_, _| {
                std::thread::sleep(Duration::from_millis(2));
                Ok(true)
            };
            let served = loader.serve(0, slow).unwrap();
            (served.workers, served.ahead)
        };
        let none = ("DATALOADER_NUM_WORKERS", "0");
        let three = ("DATALOADER_NUM_WORKERS", "3");
        let far = ("DATALOADER_PREFETCH_FACTOR", "5");
        assert_eq!(report(&[none]), (0, 0));
        let (workers, ahead) = report(&[three]);
        assert!(workers == 3 && (1..=6).contains(&ahead), "{workers} workers, {ahead} ahead");
        let (workers, ahead) = report(&[three, far]);
        assert!(workers == 3 && (7..=15).contains(&ahead), "{workers} workers, {ahead} ahead");
        let each_pass = [three, ("DATALOADER_PERSISTENT_WORKERS", "false")];
        assert_eq!(report(&each_pass).0, 6, "three workers in each of two passes");
    }

    #[test]
    fn stopping_early_ends_the_workers() {
        let rows = rows(50);
        let loader = Loader::new(&rows, 1000, &settings(&SHAPE));
        let mut taken = 0;
        loader
            .serve(0, |_, _| {
                taken += 1;
                Ok(taken < 3)
            })
            .unwrap();
        assert_eq!(taken, 3);
    }

    #[test]
    fn a_batch_points_from_each_trained_token_to_its_predecessor() {
        let batch = Batch::new(&rows(3), &[2, 0]);
        assert_eq!(batch.packed.ids, [2, 1, 2, 0, 1, 2]);
        assert_eq!(batch.places, [1, 4]);
        assert_eq!(batch.targets, [2, 2]);
    }
}
