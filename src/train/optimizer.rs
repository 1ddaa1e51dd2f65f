//! AdamW (Loshchilov and Hutter 2019) with f32 states, and clipping by the global norm.

use anyhow::{Context, Result, bail, ensure};
use candle_core::{Tensor, Var};
use rayon::prelude::*;

use crate::files::safetensors::{Entry, le_bytes};
#[cfg(feature = "cuda")]
use crate::model::ops::cuda::adamw;

const BETA_1: f64 = 0.9;
const BETA_2: f64 = 0.999;
const EPSILON: f32 = 1e-8;
const CHUNK: usize = 16_384;

/// One variable's moments and the gradient gathered so far.
struct State {
    first: Vec<f32>,
    second: Vec<f32>,
    gradient: Vec<f32>,
}

/// Whether a variable is the second factor of a linear's delta, which begins at zero.
fn is_b(name: &str) -> bool {
    name.ends_with(".lora_B")
}

/// All variables' states, where the variables are.
enum States {
    Host(Vec<State>),
    #[cfg(feature = "cuda")]
    Card(adamw::Moments),
}

impl States {
    fn new(variables: &[(String, Var)]) -> Result<Self> {
        #[cfg(feature = "cuda")]
        if let Some((_, var)) = variables.first().filter(|(_, v)| v.device().is_cuda()) {
            let vars = variables.iter().map(|(name, var)| (var, is_b(name)));
            return Ok(States::Card(adamw::Moments::new(vars, var.device())?));
        }
        let states = variables.iter().map(|(_, var)| {
            let zeros = || vec![0f32; var.elem_count()];
            State { first: zeros(), second: zeros(), gradient: zeros() }
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
    /// (LoRA+; Hayou et al. 2024).
    pub fn new(variables: Vec<(String, Var)>, weight_decay: f64, b_ratio: f64) -> Result<Self> {
        let states = States::new(&variables)?;
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
        let two = |name: &str, n: usize| {
            ["first", "second"].map(|moment| Entry::f32(format!("{name}.{moment}"), &[n]))
        };
        match &self.states {
            States::Host(_) => {
                self.variables.iter().flat_map(|(name, var)| two(name, var.elem_count())).collect()
            }
            #[cfg(feature = "cuda")]
            States::Card(moments) => two("all", moments.len()).into(),
        }
    }

    /// The numbers of a part, little-endian.
    pub fn part(&self, name: &str) -> Result<Vec<u8>> {
        let (of, moment) = name.rsplit_once('.').context("a part has a name and a moment")?;
        let first = moment == "first";
        Ok(match &self.states {
            States::Host(states) => {
                let state = &states[self.index(of)?];
                le_bytes(if first { &state.first } else { &state.second })
            }
            #[cfg(feature = "cuda")]
            States::Card(moments) => le_bytes(&moments.read(first)?),
        })
    }

    /// Sets a part from a checkpoint.
    pub fn set_part(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let (of, moment) = name.rsplit_once('.').context("a part has a name and a moment")?;
        let values: Vec<f32> = bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        let index = self.index(of);
        match &mut self.states {
            States::Host(states) => {
                let state = &mut states[index?];
                let place = if moment == "first" { &mut state.first } else { &mut state.second };
                ensure!(place.len() == values.len(), "`{name}` holds {} numbers", values.len());
                *place = values;
            }
            #[cfg(feature = "cuda")]
            States::Card(moments) => moments.write(moment == "first", &values)?,
        }
        Ok(())
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
                    let states = first.par_chunks_mut(CHUNK).zip(second.par_chunks_mut(CHUNK));
                    let both = gradient.par_chunks_mut(CHUNK).zip(values.par_chunks_mut(CHUNK));
                    states.zip(both).for_each(|((first, second), (gradient, values))| {
                        for i in 0..values.len() {
                            let g = gradient[i] * clip as f32;
                            first[i] = b1 * first[i] + (1.0 - b1) * g;
                            second[i] = b2 * second[i] + (1.0 - b2) * g * g;
                            let update = rate * first[i] / (second[i].sqrt() * root + EPSILON);
                            values[i] = values[i] * keep - update;
                            gradient[i] = 0.0;
                        }
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
    use candle_core::Device;

    /// Three steps on f(w) = w²/2 against the update written out in f64.
    #[test]
    fn follows_the_published_update() {
        let var = Var::from_slice(&[1.0f32, -2.0], (1, 2), &Device::Cpu).unwrap();
        let mut adam = AdamW::new(vec![("w".into(), var.clone())], 0.1, 1.0).unwrap();
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
        let mut adam = AdamW::new(vec![("lost".into(), var)], 0.0, 1.0).unwrap();
        let grads = other.as_tensor().sum_all().unwrap().backward().unwrap();
        assert!(adam.gather(&grads).unwrap_err().to_string().contains("lost"));
    }

    #[test]
    fn b_learns_at_its_own_rate() {
        let var = || Var::from_slice(&[1.0f32], (1, 1), &Device::Cpu).unwrap();
        let (a, b) = (var(), var());
        let both = vec![("q.lora_A".into(), a.clone()), ("q.lora_B".into(), b.clone())];
        let mut adam = AdamW::new(both, 0.5, 16.0).unwrap();
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
        let mut adam = AdamW::new(vec![("w".into(), var.clone())], 0.0, 1.0).unwrap();
        let loss = (var.as_tensor().sqr().unwrap().sum_all().unwrap() * 0.5).unwrap();
        adam.gather(&loss.backward().unwrap()).unwrap();
        assert!((adam.step(0.0, 1.0).unwrap() - 5.0).abs() < 1e-6);
        let first = match &adam.states {
            States::Host(states) => &states[0].first,
            #[cfg(feature = "cuda")]
            States::Card(_) => unreachable!(),
        };
        assert!((first[0] - 0.1 * 0.6).abs() < 1e-6);
        assert_eq!(adam.norm().unwrap(), 0.0);
    }
}
