//! Checks whether a base fits into memory, before it is read.

use std::fs;

use anyhow::{Result, bail};

use super::decoder::WeightDtype;

/// Factor by which tables, adapters and activations exceed the weights of a large base. A rule of
/// thumb, measured on a base of half a billion parameters (fixtures/reference/make_large.py).
const OVERHEAD: f64 = 1.15;

/// Bytes that this process may still allocate: the machine's free memory, or less in a container
/// with a limit. `None` if unknown.
pub fn available() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| free_of(&text));
    let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    // Inactive file pages count as used, but the kernel frees them on demand.
    let idle = fs::read_to_string("/sys/fs/cgroup/memory.stat")
        .ok()
        .and_then(|text| idle_of(&text))
        .unwrap_or(0);
    let container =
        number("/sys/fs/cgroup/memory.max").zip(number("/sys/fs/cgroup/memory.current"));
    let container = container.map(|(most, now)| most.saturating_sub(now.saturating_sub(idle)));
    [machine, container].into_iter().flatten().min()
}

/// `MemAvailable` of `/proc/meminfo`.
fn free_of(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// `inactive_file` of a container's `memory.stat`.
fn idle_of(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("inactive_file "))?.trim().parse().ok()
}

/// Refuses a base whose weights need more memory than is available.
///
/// # Errors
/// With the needed memory, the available memory, and advice.
pub fn check(weights: u64, dtype: WeightDtype, as_bf16: u64, available: Option<u64>) -> Result<()> {
    let Some(available) = available else { return Ok(()) };
    let needed = |weights: u64| (weights as f64 * OVERHEAD) as u64;
    if needed(weights) <= available {
        return Ok(());
    }
    let gigabytes = |bytes: u64| format!("{:.1} GB", bytes as f64 / 1e9);
    let advice = if dtype == WeightDtype::F32 && needed(as_bf16) <= available {
        format!("--weights bf16 needs {} and would fit", gigabytes(needed(as_bf16)))
    } else {
        "use a smaller base, or a machine or GPU with more memory".to_owned()
    };
    let (needed, available) = (gigabytes(needed(weights)), gigabytes(available));
    bail!("the base needs about {needed} of memory and {available} are free: {advice}")
}

/// Refuses a pass over more rows than fit into memory.
///
/// # Errors
/// With the needed memory, the available memory, and advice.
pub fn check_pass(rows: usize, needed: u64, free: Option<u64>) -> Result<()> {
    let gigabytes = |bytes: u64| bytes as f64 / 1e9;
    match free.filter(|free| needed > *free) {
        None => Ok(()),
        Some(free) => bail!(
            "{rows} tokens at once need about {:.1} GB of memory with this base and {:.1} GB are \
             free: shorten the longest rows, or use a smaller base, or a machine or GPU with more \
             memory",
            gigabytes(needed),
            gigabytes(free)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_that_does_not_fit_is_refused() {
        assert!(check_pass(1000, 2_000_000_001, Some(2_000_000_000)).is_err());
        assert!(check_pass(1000, 2_000_000_000, Some(2_000_000_000)).is_ok());
        assert!(check_pass(1000, u64::MAX, None).is_ok());
    }

    #[test]
    fn a_base_that_does_not_fit_is_refused_with_what_would() {
        let check = |dtype, weights, free: u64| {
            check(weights, dtype, 15_000_000_000, Some(free * 1_000_000_000))
                .map_err(|e| e.to_string())
        };
        assert_eq!(check(WeightDtype::F32, 30_000_000_000, 36), Ok(()));
        let bf16 = check(WeightDtype::F32, 30_000_000_000, 20).expect_err("34.5 are needed");
        assert!(
            bf16.contains("34.5 GB")
                && bf16.contains("20.0 GB are free")
                && bf16.contains("--weights bf16 needs 17.2 GB"),
            "{bf16}"
        );
        for (dtype, weights) in
            [(WeightDtype::F32, 30_000_000_000), (WeightDtype::Bf16, 15_000_000_000)]
        {
            assert!(
                check(dtype, weights, 8)
                    .expect_err("too large either way")
                    .contains("a smaller base")
            );
        }
    }

    #[test]
    fn where_free_memory_is_unknown_nothing_is_refused() {
        assert!(check(u64::MAX, WeightDtype::F32, u64::MAX, None).is_ok());
        assert_eq!(free_of("MemTotal: 9 kB\nMemAvailable:   12345 kB\n"), Some(12_345 * 1024));
        assert_eq!(free_of("MemTotal: 9 kB\n"), None);
        assert_eq!(idle_of("active_file 1\ninactive_file 4096\n"), Some(4096));
    }
}
