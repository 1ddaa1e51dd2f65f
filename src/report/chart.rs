//! The loss curve as the coordinates of an inline SVG.

use serde::Serialize;

use super::Training;

/// The drawing's size; the page scales it.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 44.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 28.0;
/// More points than this are thinned: the page shows no more pixels.
const MOST_POINTS: usize = 720;

/// The drawing, ready for the page.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Chart {
    pub width: f64,
    pub height: f64,
    pub left: f64,
    pub right: f64,
    pub bottom: f64,
    /// `x,y` pairs of the training loss.
    pub train: String,
    /// `x,y` pairs of the loss on tune.
    pub tune: String,
    /// The points of the loss on tune.
    pub dots: Vec<(String, String)>,
    /// Grid lines: where, and what they say.
    pub rows: Vec<(String, String)>,
    /// Marks on the step axis.
    pub columns: Vec<(String, String)>,
    /// For those who cannot see it.
    pub label: String,
}

impl Chart {
    /// The curve, or nothing with fewer than two points to draw.
    pub fn of(training: &Training) -> Option<Chart> {
        let finite = |losses: &[(u64, f64)]| -> Vec<(f64, f64)> {
            let kept = losses.iter().filter(|(_, loss)| loss.is_finite());
            kept.map(|(step, loss)| (*step as f64, *loss)).collect()
        };
        let (train, tune) = (finite(&training.losses), finite(&training.tune_losses));
        if train.len() < 2 {
            return None;
        }
        let both = || train.iter().chain(&tune);
        let last_step = both().map(|p| p.0).fold(1.0, f64::max);
        let (low, high) = both()
            .map(|p| p.1)
            .fold((f64::MAX, f64::MIN), |(low, high), y| (low.min(y), high.max(y)));
        let unit = nice((high - low).max(1e-6) / 4.0);
        let (low, high) = ((low / unit).floor() * unit, (high / unit).ceil() * unit);
        let high = if high > low { high } else { low + unit };
        let x = |step: f64| LEFT + step / last_step * (WIDTH - LEFT - RIGHT);
        let y = |loss: f64| TOP + (high - loss) / (high - low) * (HEIGHT - TOP - BOTTOM);
        let place =
            |(step, loss): &(f64, f64)| (format!("{:.1}", x(*step)), format!("{:.1}", y(*loss)));
        let line = |points: &[(f64, f64)]| {
            let stride = points.len().div_ceil(MOST_POINTS).max(1);
            let kept = points.iter().step_by(stride).chain(points.last());
            let pairs: Vec<String> = kept.map(place).map(|(x, y)| format!("{x},{y}")).collect();
            pairs.join(" ")
        };
        let digits = if unit < 0.01 {
            4
        } else if unit < 1.0 {
            2
        } else {
            0
        };
        let marks = ((high - low) / unit).round() as usize;
        let rows = (0..=marks).map(|i| low + unit * i as f64);
        let step_unit = nice(last_step / 6.0).max(1.0);
        let steps = (0..=(last_step / step_unit).floor() as usize).map(|i| i as f64 * step_unit);
        let end = |points: &[(f64, f64)]| points.last().map_or(0.0, |p| p.1);
        Some(Chart {
            width: WIDTH,
            height: HEIGHT,
            left: LEFT,
            right: WIDTH - RIGHT,
            bottom: HEIGHT - BOTTOM,
            train: line(&train),
            tune: if tune.len() > 1 { line(&tune) } else { String::new() },
            dots: if tune.len() <= 60 { tune.iter().map(place).collect() } else { Vec::new() },
            rows: rows
                .map(|loss| (format!("{:.1}", y(loss)), format!("{loss:.digits$}")))
                .collect(),
            columns: steps.map(|s| (format!("{:.1}", x(s)), format!("{s:.0}"))).collect(),
            label: format!(
                "Training loss from {:.3} to {:.3} over {last_step:.0} steps",
                train[0].1,
                end(&train)
            ),
        })
    }
}

/// The nearest 1, 2 or 5 times a power of ten, not below `x`.
fn nice(x: f64) -> f64 {
    let power = libm::pow(10.0, libm::floor(libm::log10(x)));
    let found = [1.0, 2.0, 5.0, 10.0].into_iter().find(|m| m * power >= x * 0.999_999);
    found.unwrap_or(10.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(losses: Vec<(u64, f64)>) -> Option<Chart> {
        Chart::of(&Training { losses, ..Training::default() })
    }

    #[test]
    fn axes_end_on_round_numbers_and_points_stay_inside() {
        let chart = curve((0..=100).map(|i| (i, 3.0 - i as f64 * 0.02)).collect()).unwrap();
        let said: Vec<&str> = chart.rows.iter().map(|r| r.1.as_str()).collect();
        assert_eq!(said, ["1.00", "1.50", "2.00", "2.50", "3.00"]);
        let steps: Vec<&str> = chart.columns.iter().map(|c| c.1.as_str()).collect();
        assert_eq!(steps, ["0", "20", "40", "60", "80", "100"]);
        for pair in chart.train.split(' ') {
            let (x, y) = pair.split_once(',').unwrap();
            let (x, y): (f64, f64) = (x.parse().unwrap(), y.parse().unwrap());
            assert!((LEFT..=WIDTH).contains(&x) && (TOP..=HEIGHT - BOTTOM).contains(&y), "{pair}");
        }
    }

    #[test]
    fn odd_curves_are_drawn_or_left_out() {
        assert_eq!(curve(vec![]), None);
        assert_eq!(curve(vec![(1, 2.0)]), None);
        assert_eq!(curve(vec![(1, f64::NAN), (2, 1.0)]), None);
        assert!(curve(vec![(1, 2.0), (2, 2.0)]).is_some(), "a flat curve");
        let long = curve((0..10_000).map(|i| (i, 1.0 / (i + 1) as f64)).collect()).unwrap();
        assert!(long.train.split(' ').count() <= MOST_POINTS + 2);
    }
}
