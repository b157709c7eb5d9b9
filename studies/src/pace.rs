//! How long a measurement goes on.

use std::time::{Duration, Instant};

use profiler::Summary;

use crate::settings::{Budget, Control, StudyError};

/// A budget in seconds ends early once the median is known this well: MAD / sqrt(runs) below this share of it.
const SETTLED: f64 = 0.002;
const REPORT_EVERY: Duration = Duration::from_millis(100);

/// Counts turns of one recorded and one unrecorded run, until the budget ends.
pub(crate) struct Pace {
    budget: Budget,
    start: Instant,
    reported: Option<Instant>,
    /// Runs of each kind that were begun.
    turns: u32,
    most: u32,
    recorded_first: bool,
}

impl Pace {
    /// Begins now.
    pub fn new(budget: Budget) -> Pace {
        Pace { budget, start: Instant::now(), reported: None, turns: 0, most: u32::MAX, recorded_first: false }
    }

    /// Ends after so many turns, whatever the budget.
    pub fn at_most(&mut self, turns: u32) {
        self.most = turns.max(1);
    }

    /// True if another turn is due; `latencies` are those of the unrecorded runs so far. Reports, and hears the wish to stop.
    pub fn goes_on(&mut self, latencies: &[u64], control: &Control) -> Result<bool, StudyError> {
        let (elapsed, done) = (self.start.elapsed(), self.turns);
        let (fraction, left) = match self.budget {
            Budget::Runs(n) => {
                let share = done as f32 / n.max(1) as f32;
                (share, (done > 0).then(|| elapsed.mul_f32(n.saturating_sub(done) as f32 / done as f32)))
            }
            Budget::Seconds(s) => {
                let total = Duration::from_secs_f64(s.clamp(0.01, 86_400.0));
                ((elapsed.as_secs_f32() / total.as_secs_f32()).min(1.0), Some(total.saturating_sub(elapsed)))
            }
        };
        let stop = match self.budget {
            Budget::Runs(n) => done >= n.max(1),
            Budget::Seconds(_) => done >= 3 && (fraction >= 1.0 || (done >= 30 && settled(latencies))),
        };
        if stop || done >= self.most {
            return Ok(false);
        }
        if self.reported.is_none_or(|at| at.elapsed() > REPORT_EVERY) {
            control.step("Measuring", Some(fraction), left)?;
            self.reported = Some(Instant::now());
        }
        self.turns += 1;
        Ok(true)
    }

    /// Makes a turn longer: up to so many runs of each kind in a row. Gives back how many.
    pub fn in_a_row(&mut self, runs: u32) -> u32 {
        let all = match self.budget {
            Budget::Runs(n) => n.max(1).min(self.most),
            Budget::Seconds(_) => self.most,
        };
        let more = runs.saturating_sub(1).min(all.saturating_sub(self.turns));
        self.turns += more;
        1 + more
    }

    /// Which of a turn's two runs are recorded. The order alternates, so that neither kind always follows the other.
    pub fn order(&mut self) -> [bool; 2] {
        self.recorded_first = !self.recorded_first;
        [self.recorded_first, !self.recorded_first]
    }
}

fn settled(latencies: &[u64]) -> bool {
    let Some(s) = Summary::of(latencies) else { return false };
    s.median > 0.0 && s.mad / (latencies.len() as f64).sqrt() < SETTLED * s.median
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_end_with_the_budget() {
        let control = Control::silent();
        let count = |budget: Budget, most: Option<u32>| {
            let mut pace = Pace::new(budget);
            if let Some(most) = most {
                pace.at_most(most);
            }
            let mut firsts = Vec::new();
            while pace.goes_on(&[1, 2, 3], &control).unwrap() {
                firsts.push(pace.order()[0]);
            }
            firsts
        };
        assert_eq!(count(Budget::Runs(4), None), [true, false, true, false]);
        assert_eq!(count(Budget::Runs(0), None).len(), 1);
        assert_eq!(count(Budget::Runs(100), Some(7)).len(), 7);
        assert!(count(Budget::Seconds(0.0), None).len() >= 3);
        let mut pace = Pace::new(Budget::Runs(10));
        let mut rows = Vec::new();
        while pace.goes_on(&[], &control).unwrap() {
            rows.push(pace.in_a_row(4));
        }
        assert_eq!(rows, [4, 4, 2]);
        control.cancel();
        assert!(matches!(Pace::new(Budget::Runs(1)).goes_on(&[], &control), Err(StudyError::Cancelled)));
    }
}
