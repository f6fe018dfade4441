//! One value for each training seed and family: the input of every estimate.

use crate::stats::Unit;

/// Rows are seeds, columns are families; `None` where nothing was scored. Every row and every
/// column has a value.
#[derive(Debug, Clone, PartialEq)]
pub struct Grid {
    pub seeds: Vec<u64>,
    pub families: Vec<String>,
    /// `rows[seed][family]`, on the scale of the caller.
    pub rows: Vec<Vec<Option<f64>>>,
}

impl Grid {
    /// One row for each unit. For trainings the grid is unchanged; for one given adapter rows are
    /// families, which are then the sample.
    pub fn by(self, unit: Unit) -> Grid {
        if unit == Unit::Training {
            return self;
        }
        let column = |family: usize| self.rows.iter().map(|row| row[family]).collect();
        Grid {
            seeds: (0..self.families.len() as u64).collect(),
            families: self.seeds.iter().map(u64::to_string).collect(),
            rows: (0..self.families.len()).map(column).collect(),
        }
    }

    /// Keeps the seeds and families with at least one value; `None` where there are none.
    pub fn new(seeds: &[u64], families: &[String], rows: Vec<Vec<Option<f64>>>) -> Option<Grid> {
        let kept: Vec<bool> = (0..families.len())
            .map(|family| rows.iter().any(|row| row[family].is_some()))
            .collect();
        let mut grid = Grid {
            seeds: Vec::new(),
            families: families
                .iter()
                .zip(&kept)
                .filter(|(_, kept)| **kept)
                .map(|(family, _)| family.clone())
                .collect(),
            rows: Vec::new(),
        };
        for (seed, row) in seeds.iter().zip(rows) {
            if row.iter().any(Option::is_some) {
                grid.seeds.push(*seed);
                grid.rows.push(
                    row.into_iter()
                        .zip(&kept)
                        .filter(|(_, kept)| **kept)
                        .map(|(value, _)| value)
                        .collect(),
                );
            }
        }
        (!grid.rows.is_empty()).then_some(grid)
    }

    /// The mean over families of every seed, in the order of seeds.
    pub fn seed_means(&self) -> Vec<f64> {
        self.rows
            .iter()
            .map(|row| mean(row.iter().flatten().copied()).expect("no row of a grid is empty"))
            .collect()
    }

    /// The mean over seeds of every family, in the order of families.
    pub fn family_means(&self) -> Vec<f64> {
        let column = |family: usize| mean(self.rows.iter().filter_map(|row| row[family]));
        (0..self.families.len())
            .map(|family| column(family).expect("no column of a grid is empty"))
            .collect()
    }

    /// The mean of the seed means: the point estimate.
    pub fn mean(&self) -> f64 {
        mean(self.seed_means().into_iter()).expect("a grid has a seed")
    }

    /// Each unit's mean as its only value: the families are no sample then.
    #[must_use]
    pub fn averaged(self) -> Grid {
        let rows = self.seed_means().into_iter().map(|mean| vec![Some(mean)]).collect();
        Grid { families: vec!["all".to_owned()], rows, ..self }
    }

    /// The grid without one family; `None` where it is then empty.
    pub fn without(&self, family: &str) -> Option<Grid> {
        let left = |index: usize| self.families[index] != family;
        let families: Vec<String> =
            self.families.iter().filter(|name| *name != family).cloned().collect();
        let rows = self.rows.iter().map(|row| {
            (0..row.len()).filter(|index| left(*index)).map(|index| row[index]).collect()
        });
        Grid::new(&self.seeds, &families, rows.collect())
    }
}

/// The mean; `None` without values.
pub fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0_usize), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / count as f64)
}

/// The unbiased variance, with n - 1 in the denominator; `None` for fewer than two values.
pub fn variance(values: &[f64]) -> Option<f64> {
    let center = mean(values.iter().copied())?;
    let squares: f64 = values.iter().map(|value| (value - center).powi(2)).sum();
    (values.len() > 1).then(|| squares / (values.len() - 1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|index| format!("family {index}")).collect()
    }

    #[test]
    fn a_seed_of_which_nothing_could_be_scored_is_not_in_the_grid() {
        let grid = Grid::new(&[1, 2], &names(2), vec![vec![None, None], vec![Some(1.0), None]])
            .expect("one value");
        assert_eq!(
            (grid.seeds, grid.families, grid.rows),
            (vec![2], vec!["family 0".to_string()], vec![vec![Some(1.0)]])
        );
    }

    #[test]
    fn a_hole_is_left_out_of_the_mean_and_not_counted_as_zero() {
        let grid = Grid::new(&[1], &names(2), vec![vec![Some(0.5), None]]).expect("one value");
        assert_eq!(grid.mean(), 0.5);
    }
}
