//! AdamW (Loshchilov and Hutter 2019) with states in f32 or 8 bits, and clipping by the global
//! norm.

use anyhow::{Context, Result, bail};
use candle_core::{Tensor, Var};
use rayon::prelude::*;

use crate::files::safetensors::Entry;
use crate::model::dynamic::{SIGNED, UNSIGNED};
#[cfg(feature = "cuda")]
use crate::model::ops::cuda::adamw;

mod moment;

use moment::Moment;

const BETA_1: f64 = 0.9;
const BETA_2: f64 = 0.999;
const EPSILON: f32 = 1e-8;
const CHUNK: usize = 16_384;

/// One variable's moments and the gradient gathered so far.
struct State {
    first: Moment,
    second: Moment,
    gradient: Vec<f32>,
}

/// Whether a variable is the second factor of a linear's delta, which begins at zero.
fn is_b(name: &str) -> bool {
    name.ends_with(".lora_B")
}

/// Of a part's name: the variable, whether it is the first moment, and what follows.
fn taken_apart(name: &str) -> Result<(&str, bool, &str)> {
    let (variable, moment) = name.rsplit_once('/').context("a part has a variable and a moment")?;
    let (moment, end) = moment.split_once('.').unwrap_or((moment, ""));
    Ok((variable, moment == "first", end))
}

/// All variables' states, where the variables are.
enum States {
    Host(Vec<State>),
    #[cfg(feature = "cuda")]
    Card(adamw::Moments),
}

impl States {
    fn new(variables: &[(String, Var)], eight: bool) -> Result<Self> {
        #[cfg(feature = "cuda")]
        if let Some((_, var)) = variables.first().filter(|(_, v)| v.device().is_cuda()) {
            let vars = variables.iter().map(|(name, var)| {
                let small = var.elem_count() < moment::SMALL;
                let kept = if eight && !small { adamw::Kept::Eight } else { adamw::Kept::Full };
                (var, is_b(name), kept)
            });
            return Ok(States::Card(adamw::Moments::new(vars, var.device())?));
        }
        let states = variables.iter().map(|(_, var)| {
            let n = var.elem_count();
            State {
                first: Moment::zeros(n, eight.then_some(&*SIGNED)),
                second: Moment::zeros(n, eight.then_some(&*UNSIGNED)),
                gradient: vec![0.0; n],
            }
        });
        Ok(States::Host(states.collect()))
    }
}

/// The optimiser with its states and the gradient gathered so far.
pub struct AdamW {
    variables: Vec<(String, Var)>,
    states: States,
    updates: i32,
    weight_decay: f64,
    b_ratio: f64,
}

impl AdamW {
    /// States at zero for every variable. The B of an adapter learns at `b_ratio` times the rate
    /// (LoRA+; Hayou et al. 2024). With `eight` the states are kept in 8 bits.
    pub fn new(
        variables: Vec<(String, Var)>,
        weight_decay: f64,
        b_ratio: f64,
        eight: bool,
    ) -> Result<Self> {
        let states = States::new(&variables, eight)?;
        Ok(AdamW { states, variables, updates: 0, weight_decay, b_ratio })
    }

    /// How many steps were taken.
    pub fn updates(&self) -> i32 {
        self.updates
    }

    /// Sets how many steps were taken, for a checkpoint.
    pub fn set_updates(&mut self, updates: i32) {
        self.updates = updates;
    }

    /// The parts of the state between two steps, for a checkpoint.
    pub fn parts(&self) -> Vec<Entry> {
        match &self.states {
            States::Host(states) => {
                let both = |((name, _), state): (&(String, Var), &State)| {
                    let first = state.first.entries(&format!("{name}/first"));
                    first.into_iter().chain(state.second.entries(&format!("{name}/second")))
                };
                self.variables.iter().zip(states).flat_map(both).collect()
            }
            #[cfg(feature = "cuda")]
            States::Card(moments) => {
                ["all/first", "all/second"].iter().flat_map(|name| moments.entries(name)).collect()
            }
        }
    }

    /// The bytes of a part, little-endian.
    pub fn part(&self, name: &str) -> Result<Vec<u8>> {
        let (of, first, end) = taken_apart(name)?;
        Ok(match &self.states {
            States::Host(states) => {
                let state = &states[self.index(of)?];
                if first { &state.first } else { &state.second }.bytes(end)
            }
            #[cfg(feature = "cuda")]
            States::Card(moments) => moments.bytes(first, end)?,
        })
    }

    /// Sets a part from a checkpoint.
    pub fn set_part(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let (of, first, end) = taken_apart(name)?;
        let index = self.index(of);
        match &mut self.states {
            States::Host(states) => {
                let state = &mut states[index?];
                let moment = if first { &mut state.first } else { &mut state.second };
                moment.set(end, bytes).with_context(|| format!("`{name}` does not fit"))
            }
            #[cfg(feature = "cuda")]
            States::Card(moments) => Ok(moments.set(first, end, bytes)?),
        }
    }

    fn index(&self, name: &str) -> Result<usize> {
        let found = self.variables.iter().position(|(other, _)| other == name);
        found.with_context(|| format!("no variable is named `{name}`"))
    }

    /// Adds a micro-batch's gradients. A variable without one is an error: it would silently
    /// never be trained.
    pub fn gather(&mut self, gradients: &candle_core::backprop::GradStore) -> Result<()> {
        let each = self.variables.iter().map(|(name, var)| match gradients.get(var.as_tensor()) {
            Some(gradient) => Ok(gradient.contiguous()?),
            None => bail!("`{name}` got no gradient; the graph is cut before it"),
        });
        let gradients = each.collect::<Result<Vec<_>>>()?;
        match &mut self.states {
            States::Host(states) => {
                for (state, gradient) in states.iter_mut().zip(&gradients) {
                    let values = gradient.flatten_all()?.to_vec1::<f32>()?;
                    state
                        .gradient
                        .par_chunks_mut(CHUNK)
                        .zip(values.par_chunks(CHUNK))
                        .for_each(|(sum, new)| sum.iter_mut().zip(new).for_each(|(s, n)| *s += n));
                }
            }
            #[cfg(feature = "cuda")]
            States::Card(states) => states.gather(&gradients)?,
        }
        Ok(())
    }

    /// The norm of everything gathered.
    pub fn norm(&self) -> Result<f64> {
        let square = |s: &State| -> f64 {
            let parts: Vec<f64> = s
                .gradient
                .par_chunks(CHUNK)
                .map(|part| part.iter().map(|g| *g as f64 * *g as f64).sum())
                .collect();
            parts.iter().sum()
        };
        Ok(match &self.states {
            States::Host(states) => states.iter().map(square).sum::<f64>().sqrt(),
            #[cfg(feature = "cuda")]
            States::Card(states) => states.squares()?.sqrt(),
        })
    }

    /// Takes one step with the gathered gradient, clipped to `max_norm` (0: not), and forgets it.
    /// Matrices decay, norms and other vectors do not. Returns the norm before clipping.
    pub fn step(&mut self, learning_rate: f64, max_norm: f64) -> Result<f64> {
        let norm = self.norm()?;
        if !norm.is_finite() {
            bail!("the gradient is not finite");
        }
        let clip = if max_norm > 0.0 && norm > max_norm { max_norm / (norm + 1e-6) } else { 1.0 };
        self.updates += 1;
        let correct_1 = 1.0 - libm::pow(BETA_1, self.updates as f64);
        let correct_2 = 1.0 - libm::pow(BETA_2, self.updates as f64);
        let root = (1.0 / libm::sqrt(correct_2)) as f32;
        let (b1, b2) = (BETA_1 as f32, BETA_2 as f32);
        // The rate, and what a decaying matrix is multiplied by: of everything, and of an
        // adapter's B.
        let [plain, of_b] = [1.0, self.b_ratio].map(|ratio| {
            let own = learning_rate * ratio;
            ((own / correct_1) as f32, (1.0 - own * self.weight_decay) as f32)
        });
        match &mut self.states {
            States::Host(states) => {
                for ((name, var), state) in self.variables.iter().zip(states) {
                    let State { first, second, gradient } = state;
                    let (rate, decay) = if is_b(name) { of_b } else { plain };
                    let keep = if var.dims().len() > 1 { decay } else { 1.0 };
                    let mut values = var.as_tensor().flatten_all()?.to_vec1::<f32>()?;
                    let update =
                        |first: &mut [f32],
                         second: &mut [f32],
                         (gradient, values): (&mut [f32], &mut [f32])| {
                            for i in 0..values.len() {
                                let g = gradient[i] * clip as f32;
                                first[i] = b1 * first[i] + (1.0 - b1) * g;
                                second[i] = b2 * second[i] + (1.0 - b2) * g * g;
                                let update = rate * first[i] / (second[i].sqrt() * root + EPSILON);
                                values[i] = values[i] * keep - update;
                                gradient[i] = 0.0;
                            }
                        };
                    let states = first.parts().into_par_iter().zip(second.parts());
                    let both = gradient.par_chunks_mut(CHUNK).zip(values.par_chunks_mut(CHUNK));
                    states.zip(both).for_each(|((mut first, mut second), both)| {
                        first.update(|first| second.update(|second| update(first, second, both)));
                    });
                    var.set(&Tensor::from_vec(values, var.shape(), var.device())?)?;
                }
            }
            #[cfg(feature = "cuda")]
            States::Card(states) => {
                let (clip, betas, epsilon) = (clip as f32, (b1, b2), EPSILON);
                states.update(adamw::Update { clip, betas, root, plain, of_b, epsilon })?;
            }
        }
        Ok(norm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::Chance;
    use candle_core::Device;

    /// Three steps on f(w) = w²/2 against the update written out in f64.
    #[test]
    fn follows_the_published_update() {
        let var = Var::from_slice(&[1.0f32, -2.0], (1, 2), &Device::Cpu).unwrap();
        let mut adam = AdamW::new(vec![("w".into(), var.clone())], 0.1, 1.0, false).unwrap();
        let (mut w, mut m, mut v) = ([1.0f64, -2.0], [0.0; 2], [0.0; 2]);
        for t in 1..=3 {
            let loss = (var.as_tensor().sqr().unwrap().sum_all().unwrap() * 0.5).unwrap();
            adam.gather(&loss.backward().unwrap()).unwrap();
            adam.step(0.01, 0.0).unwrap();
            for i in 0..2 {
                let g = w[i];
                m[i] = 0.9 * m[i] + 0.1 * g;
                v[i] = 0.999 * v[i] + 0.001 * g * g;
                let (mh, vh) = (m[i] / (1.0 - 0.9f64.powi(t)), v[i] / (1.0 - 0.999f64.powi(t)));
                w[i] -= 0.01 * 0.1 * w[i] + 0.01 * mh / (vh.sqrt() + 1e-8);
            }
        }
        let got = var.as_tensor().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert!((got[0] as f64 - w[0]).abs() < 1e-6 && (got[1] as f64 - w[1]).abs() < 1e-6);
    }

    #[test]
    fn a_variable_outside_the_graph_is_an_error() {
        let var = Var::from_slice(&[1.0f32], 1, &Device::Cpu).unwrap();
        let other = Var::from_slice(&[1.0f32], 1, &Device::Cpu).unwrap();
        let mut adam = AdamW::new(vec![("lost".into(), var)], 0.0, 1.0, false).unwrap();
        let grads = other.as_tensor().sum_all().unwrap().backward().unwrap();
        assert!(adam.gather(&grads).unwrap_err().to_string().contains("lost"));
    }

    #[test]
    fn b_learns_at_its_own_rate() {
        let var = || Var::from_slice(&[1.0f32], (1, 1), &Device::Cpu).unwrap();
        let (a, b) = (var(), var());
        let both = vec![("q.lora_A".into(), a.clone()), ("q.lora_B".into(), b.clone())];
        let mut adam = AdamW::new(both, 0.5, 16.0, false).unwrap();
        let loss = (a.as_tensor() + b.as_tensor()).unwrap().sum_all().unwrap();
        adam.gather(&loss.backward().unwrap()).unwrap();
        adam.step(1e-3, 0.0).unwrap();
        // Adam's first step is the rate, whatever the gradient; the decay takes half of it more.
        for (var, rate) in [(a, 1e-3), (b, 16e-3)] {
            let moved = 1.0 - var.flatten_all().unwrap().to_vec1::<f32>().unwrap()[0];
            assert!((moved - 1.5 * rate).abs() < 1e-6, "{moved} at {rate}");
        }
    }

    #[test]
    fn clipping_bounds_the_first_step_by_the_norm() {
        let var = Var::from_slice(&[3.0f32, 4.0], 2, &Device::Cpu).unwrap();
        let mut adam = AdamW::new(vec![("w".into(), var.clone())], 0.0, 1.0, false).unwrap();
        let loss = (var.as_tensor().sqr().unwrap().sum_all().unwrap() * 0.5).unwrap();
        adam.gather(&loss.backward().unwrap()).unwrap();
        assert!((adam.step(0.0, 1.0).unwrap() - 5.0).abs() < 1e-6);
        let first = adam.part("w/first").unwrap();
        let first = f32::from_le_bytes(*first.first_chunk().unwrap());
        assert!((first - 0.1 * 0.6).abs() < 1e-6);
        assert_eq!(adam.norm().unwrap(), 0.0);
    }

    /// Steps on f(w) = Σ s·w² from the same start, in f32 and in 8 bits.
    #[test]
    fn in_eight_bits_it_goes_nearly_the_same_way() {
        let (n, mut chance) = (5000, Chance::new(1, "eight"));
        let start: Vec<f32> = (0..n).map(|_| chance.normal() as f32).collect();
        let steep: Vec<f32> = (0..n).map(|i| 10f32.powi(i as i32 / 1280 - 2)).collect();
        let steep = Tensor::from_vec(steep, n, &Device::Cpu).unwrap();
        let walked = |eight: bool| {
            let var = Var::from_slice(&start, n, &Device::Cpu).unwrap();
            let mut adam = AdamW::new(vec![("w".into(), var.clone())], 0.0, 1.0, eight).unwrap();
            for _ in 0..40 {
                let loss = (var.as_tensor().sqr().unwrap() * &steep).unwrap().sum_all().unwrap();
                adam.gather(&loss.backward().unwrap()).unwrap();
                adam.step(0.02, 0.0).unwrap();
            }
            let bytes: usize = adam.parts().iter().map(|p| adam.part(&p.name).unwrap().len()).sum();
            (var.as_tensor().to_vec1::<f32>().unwrap(), bytes)
        };
        let ((full, wide), (eight, narrow)) = (walked(false), walked(true));
        assert!(narrow * 39 < wide * 10, "{narrow} bytes of states instead of {wide}");
        let moved = |i: usize| (full[i] - start[i]).abs();
        let apart = (0..n).map(|i| (full[i] - eight[i]).abs()).sum::<f32>();
        assert!(apart > 0.0 && apart < 0.05 * (0..n).map(moved).sum::<f32>(), "{apart} apart");
    }

    /// Gradients of very different size in one block: no step is longer than in f32.
    #[test]
    fn in_eight_bits_small_gradients_beside_large_ones_take_no_leap() {
        let n = 4096;
        let pull: Vec<f32> = (0..n).map(|i| 10f32.powi(-(i % 7))).collect();
        let pull = Tensor::from_vec(pull, n as usize, &Device::Cpu).unwrap();
        let walked = |eight: bool| {
            let var = Var::zeros(n as usize, candle_core::DType::F32, &Device::Cpu).unwrap();
            let mut adam = AdamW::new(vec![("w".into(), var.clone())], 0.0, 1.0, eight).unwrap();
            for _ in 0..5 {
                let loss = (var.as_tensor() * &pull).unwrap().sum_all().unwrap();
                adam.gather(&loss.backward().unwrap()).unwrap();
                adam.step(0.01, 0.0).unwrap();
            }
            let values = var.as_tensor().to_vec1::<f32>().unwrap();
            values.iter().fold(0f32, |most, v| most.max(v.abs()))
        };
        let (full, eight) = (walked(false), walked(true));
        assert!(full > 0.0 && eight < 1.1 * full, "{eight} instead of {full}");
    }

    #[test]
    fn states_come_back_from_their_parts() {
        for eight in [false, true] {
            let adam = |eight| {
                let vars = [4096, 7].map(|n| Var::from_tensor(&normal(n)).unwrap());
                let named = ["a", "b"].map(String::from).into_iter().zip(vars);
                AdamW::new(named.collect(), 0.1, 1.0, eight).unwrap()
            };
            let mut walked = adam(eight);
            let sum = |v: &Var| v.as_tensor().sqr().unwrap().sum_all().unwrap();
            for _ in 0..3 {
                let vars = &walked.variables;
                let loss = (sum(&vars[0].1) + sum(&vars[1].1)).unwrap();
                walked.gather(&loss.backward().unwrap()).unwrap();
                walked.step(0.01, 1.0).unwrap();
            }
            let mut fresh = adam(eight);
            assert_eq!(walked.parts().len(), if eight { 6 } else { 4 });
            for part in walked.parts() {
                fresh.set_part(&part.name, &walked.part(&part.name).unwrap()).unwrap();
            }
            for part in walked.parts() {
                let (a, b) = (walked.part(&part.name).unwrap(), fresh.part(&part.name).unwrap());
                assert!(a == b && a.iter().any(|byte| *byte != 0), "{}", part.name);
            }
            assert!(fresh.set_part("b/first", &[0; 3]).is_err());
        }
    }

    fn normal(n: usize) -> Tensor {
        let mut chance = Chance::new(2, "normal");
        let values: Vec<f32> = (0..n).map(|_| chance.normal() as f32).collect();
        Tensor::from_vec(values, n, &Device::Cpu).unwrap()
    }
}
