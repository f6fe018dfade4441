//! The source of all random numbers.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use sha2::{Digest, Sha256};

/// An independent random stream per purpose. Equal seeds and purposes give equal numbers on every
/// machine.
///
/// The purpose is hashed with the seed, so that the streams of `("order", 1)` and `("init", 1)` are
/// independent.
pub fn stream(purpose: &str, seed: u64) -> ChaCha8Rng {
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    hash.update(purpose.as_bytes());
    ChaCha8Rng::from_seed(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;

    #[test]
    fn streams_of_different_purposes_differ() {
        let order: u64 = stream("order", 1).random();
        let init: u64 = stream("init", 1).random();
        assert_ne!(order, init);
    }

    #[test]
    fn a_stream_is_the_same_every_time() {
        assert_eq!(stream("order", 7).random::<u64>(), stream("order", 7).random::<u64>());
    }
}
