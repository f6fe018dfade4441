//! Reads any bytes as a GGUF file, and computes from it all that a base is made of.

#![no_main]
#![allow(dead_code, reason = "modules of foretaste, compiled alone so that burn need not be")]

use libfuzzer_sys::fuzz_target;

#[path = "../../../src/lm"]
mod lm {
    pub mod gguf;
}

use lm::gguf::Gguf;
use lm::gguf::config::{GgufArchitecture, config, generation_config};
use lm::gguf::tensors::{tensors, values};
use lm::gguf::tokenizer::{tokenizer, tokenizer_config};

fuzz_target!(|file: &[u8]| {
    let Ok(read) = Gguf::read(file) else { return };
    let _ = (config(&read, file), generation_config(&read));
    let _ = (tokenizer(&read), tokenizer_config(&read));
    let Ok(architecture) = GgufArchitecture::of(&read) else { return };
    for tensor in tensors(&read, architecture).unwrap_or_default().into_values() {
        let numbers: usize = tensor.info.shape.iter().product();
        if let Ok(found) = values(file, &tensor) {
            assert_eq!(found.len(), numbers);
        }
    }
});
