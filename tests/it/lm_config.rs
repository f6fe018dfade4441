//! What the engine reads from `config.json` of released models.

use std::fs;

use foretaste::lm::config::{Biases, Config};
use foretaste::lm::files::ModelFiles;
use serde_json::{Value, json};

fn read(config: &Value) -> anyhow::Result<Config> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("config.json"), config.to_string())?;
    Config::read(&ModelFiles::open(Some(folder.path()))?)
}

#[track_caller]
fn config(config: &Value) -> Config {
    read(config).expect("a released configuration is read")
}

/// `config` with some fields changed; null removes a field.
fn with(mut config: Value, changes: Value) -> Value {
    for (name, value) in changes.as_object().expect("changes are an object") {
        config[name] = value.clone();
    }
    config
}

fn without(mut config: Value, name: &str) -> Value {
    config.as_object_mut().expect("a configuration is an object").remove(name);
    config
}

fn windows(config: &Config) -> Vec<Option<usize>> {
    config.layers.iter().map(|layer| layer.window).collect()
}

/// Llama 3.2 1B.
fn llama() -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"], "attention_bias": false, "head_dim": 64,
        "hidden_act": "silu", "hidden_size": 2048, "intermediate_size": 8192,
        "max_position_embeddings": 131072, "mlp_bias": false, "num_attention_heads": 32,
        "num_hidden_layers": 16, "num_key_value_heads": 8, "rms_norm_eps": 1e-5,
        "rope_scaling": {
            "factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
            "original_max_position_embeddings": 8192, "rope_type": "llama3"
        },
        "rope_theta": 500000.0, "tie_word_embeddings": true, "vocab_size": 128256
    })
}

/// Mistral 7B v0.1.
fn mistral() -> Value {
    json!({
        "architectures": ["MistralForCausalLM"], "hidden_act": "silu", "hidden_size": 4096,
        "intermediate_size": 14336, "max_position_embeddings": 32768, "num_attention_heads": 32,
        "num_hidden_layers": 32, "num_key_value_heads": 8, "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0, "sliding_window": 4096, "tie_word_embeddings": false,
        "vocab_size": 32000
    })
}

/// Qwen2.5 0.5B.
fn qwen2() -> Value {
    json!({
        "architectures": ["Qwen2ForCausalLM"], "hidden_act": "silu", "hidden_size": 896,
        "intermediate_size": 4864, "max_position_embeddings": 32768, "max_window_layers": 21,
        "num_attention_heads": 14, "num_hidden_layers": 24, "num_key_value_heads": 2,
        "rms_norm_eps": 1e-6, "rope_theta": 1000000.0, "sliding_window": 32768,
        "tie_word_embeddings": true, "use_sliding_window": false, "vocab_size": 151936
    })
}

/// Gemma 2 2B.
fn gemma2() -> Value {
    json!({
        "architectures": ["Gemma2ForCausalLM"], "attention_bias": false,
        "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0, "head_dim": 256,
        "hidden_act": "gelu_pytorch_tanh", "hidden_activation": "gelu_pytorch_tanh",
        "hidden_size": 2304, "intermediate_size": 9216, "max_position_embeddings": 8192,
        "num_attention_heads": 8, "num_hidden_layers": 26, "num_key_value_heads": 4,
        "query_pre_attn_scalar": 256, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
        "sliding_window": 4096, "vocab_size": 256000
    })
}

/// Gemma 3 1B.
fn gemma3() -> Value {
    json!({
        "architectures": ["Gemma3ForCausalLM"], "attention_bias": false,
        "attn_logit_softcapping": null, "final_logit_softcapping": null, "head_dim": 256,
        "hidden_activation": "gelu_pytorch_tanh", "hidden_size": 1152, "intermediate_size": 6912,
        "max_position_embeddings": 32768, "num_attention_heads": 4, "num_hidden_layers": 26,
        "num_key_value_heads": 1, "query_pre_attn_scalar": 256, "rms_norm_eps": 1e-6,
        "rope_local_base_freq": 10000, "rope_scaling": null, "rope_theta": 1000000,
        "sliding_window": 512, "sliding_window_pattern": 6, "vocab_size": 262144
    })
}

/// Phi-3-mini with the long context. The number of factors fits its heads; their values are
/// invented.
fn phi3() -> Value {
    json!({
        "architectures": ["Phi3ForCausalLM"], "attention_bias": false, "hidden_act": "silu",
        "hidden_size": 3072, "intermediate_size": 8192, "max_position_embeddings": 131072,
        "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 32,
        "original_max_position_embeddings": 4096, "rms_norm_eps": 1e-5,
        "rope_scaling": {
            "long_factor": vec![4.0; 48], "short_factor": vec![1.25; 48], "type": "longrope"
        },
        "rope_theta": 10000.0, "sliding_window": 262144, "tie_word_embeddings": false,
        "vocab_size": 32064
    })
}

/// SmolLM3 3B. Its list of layers with rotary embedding is shortened to the layers that are read
/// here.
fn smollm3() -> Value {
    json!({
        "architectures": ["SmolLM3ForCausalLM"], "attention_bias": false, "hidden_act": "silu",
        "hidden_size": 2048, "intermediate_size": 11008, "max_position_embeddings": 65536,
        "max_window_layers": 28, "mlp_bias": false, "no_rope_layer_interval": 4,
        "no_rope_layers": [1, 1, 1, 0, 1, 1, 1, 0], "num_attention_heads": 16,
        "num_hidden_layers": 8, "num_key_value_heads": 4, "rms_norm_eps": 1e-6,
        "rope_scaling": null, "rope_theta": 5000000.0, "sliding_window": null,
        "use_sliding_window": false, "vocab_size": 128256
    })
}

#[test]
fn llama_3_2_has_full_attention_and_divides_its_low_frequencies_by_32() {
    let config = config(&llama());
    assert!(windows(&config).iter().all(Option::is_none));
    let frequencies = &config.rotaries[0].inverse_frequencies;
    assert_eq!((frequencies.len(), frequencies[0]), (32, 1.0));
    let slowest = 500_000f64.powf(-62.0 / 64.0);
    assert!((frequencies[31] * 32.0 / slowest - 1.0).abs() < 1e-12);
}

#[test]
fn mistral_has_a_window_unless_the_file_says_null() {
    assert_eq!(windows(&config(&mistral())), [Some(4096); 32]);
    assert_eq!(windows(&config(&without(mistral(), "sliding_window"))), [Some(4096); 32]);
    assert_eq!(windows(&config(&with(mistral(), json!({"sliding_window": null})))), [None; 32]);
}

#[test]
fn a_window_as_long_as_the_context_counts_as_no_window() {
    assert_eq!(windows(&config(&with(mistral(), json!({"sliding_window": 32768})))), [None; 32]);
}

#[test]
fn qwen2_has_biases_on_queries_keys_and_values_and_a_window_only_if_it_is_enabled() {
    let plain = config(&qwen2());
    assert_eq!(plain.biases, Biases { qkv: true, o: false, mlp: false });
    assert_eq!((plain.heads.dim, plain.tie_word_embeddings), (64, true));
    assert_eq!(windows(&plain), [None; 24]);
    let used = windows(&config(&with(
        qwen2(),
        json!({"use_sliding_window": true, "sliding_window": 128}),
    )));
    assert_eq!(used, [vec![None; 21], vec![Some(128); 3]].concat());
}

#[test]
fn qwen3_has_an_explicit_head_width_and_norms_on_queries_and_keys() {
    // Qwen3 0.6B.
    let qwen3 = json!({
        "architectures": ["Qwen3ForCausalLM"], "head_dim": 128, "hidden_act": "silu",
        "hidden_size": 1024, "intermediate_size": 3072, "max_position_embeddings": 40960,
        "max_window_layers": 28, "num_attention_heads": 16, "num_hidden_layers": 28,
        "num_key_value_heads": 8, "rms_norm_eps": 1e-6, "rope_scaling": null, "rope_theta": 1000000,
        "sliding_window": null, "tie_word_embeddings": true, "use_sliding_window": false,
        "vocab_size": 151936
    });
    let config = config(&qwen3);
    assert_eq!((config.query_width(), config.key_value_width()), (2048, 1024));
    assert!(
        config.norms.queries_and_keys
            && !config.norms.post_norm
            && config.biases == Biases::default()
    );
}

#[test]
fn gemma_2_soft_caps_and_scales_and_has_a_window_in_every_second_layer() {
    let config = config(&gemma2());
    assert_eq!((config.attention_softcap, config.final_softcap), (Some(50.0), Some(30.0)));
    assert_eq!((config.attention_scale, config.embedding_scale), (1.0 / 16.0, 48.0));
    assert!(
        config.tie_word_embeddings
            && config.norms.plus_one
            && config.norms.post_norm
            && !config.norms.queries_and_keys
    );
    assert_eq!(windows(&config), [Some(4096), None].repeat(13));
}

#[test]
fn gemma_3_has_full_attention_with_lower_rotary_frequencies_in_every_sixth_layer() {
    let config = config(&gemma3());
    let wide: Vec<usize> = (0..26).filter(|&layer| config.layers[layer].window.is_none()).collect();
    assert_eq!(wide, [5, 11, 17, 23]);
    assert!(
        (0..26)
            .all(|layer| config.layers[layer].rotary == Some(usize::from(!wide.contains(&layer))))
    );
    let second = |rotary: usize| config.rotaries[rotary].inverse_frequencies[1];
    assert!(
        (second(0) - 1e6f64.powf(-2.0 / 256.0)).abs() < 1e-12
            && (second(1) - 1e4f64.powf(-2.0 / 256.0)).abs() < 1e-12
    );
    assert_eq!((config.attention_softcap, config.final_softcap), (None, None));
}

#[test]
fn the_older_and_the_newer_rope_fields_give_the_same_config() {
    let layer_type =
        |layer: usize| if layer.is_multiple_of(6) { "full_attention" } else { "sliding_attention" };
    let newer = json!({
        "rope_theta": null, "rope_local_base_freq": null, "sliding_window_pattern": null,
        "layer_types": (1..=26).map(layer_type).collect::<Vec<_>>(),
        "rope_parameters": {
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1000000.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}
        }
    });
    let older = json!({"rope_scaling": {"rope_type": "linear", "factor": 8.0}});
    assert_eq!(config(&with(gemma3(), newer)), config(&with(gemma3(), older)));
    let newer = json!({"rope_theta": null, "rope_scaling": null, "rope_parameters": {
        "rope_type": "llama3", "rope_theta": 500000.0, "factor": 32.0, "high_freq_factor": 4.0,
        "low_freq_factor": 1.0, "original_max_position_embeddings": 8192
    }});
    assert_eq!(config(&with(llama(), newer)), config(&llama()));
}

#[test]
fn phi_3_is_limited_to_its_original_length_and_uses_its_short_factors() {
    let whole = config(&phi3());
    assert!(whole.fused && whole.max_position_embeddings == 4096 && windows(&whole) == [None; 32]);
    assert_eq!(whole.rotaries[0].inverse_frequencies[0], 1.0 / 1.25);
    let scale = (1.0 + 32f64.ln() / 4096f64.ln()).sqrt();
    assert!((whole.rotaries[0].scale - scale).abs() < 1e-12);
    // Phi-4-mini rotates three quarters of a head. The first files called the scaling "su", then
    // "yarn".
    for kind in ["su", "yarn"] {
        let scaling =
            json!({"long_factor": vec![4.0; 36], "short_factor": vec![1.25; 36], "type": kind});
        let partial =
            config(&with(phi3(), json!({"partial_rotary_factor": 0.75, "rope_scaling": scaling})));
        assert_eq!((partial.heads.dim, partial.rotaries[0].inverse_frequencies.len()), (96, 36));
    }
    let short =
        json!({"rope_scaling": {"long_factor": [1.0], "short_factor": [1.0], "type": "longrope"}});
    let error = format!("{:#}", read(&with(phi3(), short)).expect_err("one factor is too few"));
    assert!(error.contains("short_factor must hold 48 numbers"), "{error}");
}

#[test]
fn smollm3_has_no_rotary_embedding_in_every_fourth_layer() {
    for config in [config(&smollm3()), config(&without(smollm3(), "no_rope_layers"))] {
        let turns: Vec<bool> = config.layers.iter().map(|layer| layer.rotary.is_some()).collect();
        assert_eq!(turns, [true, true, true, false].repeat(2));
        assert!(
            config.tie_word_embeddings,
            "the family ties embeddings where the file does not say"
        );
    }
}

#[test]
fn an_unknown_architecture_is_refused_and_the_known_ones_are_listed() {
    for (config, name) in [
        (json!({"architectures": ["FalconForCausalLM"]}), "FalconForCausalLM"),
        (json!({}), "\"\""),
    ] {
        let error = format!("{:#}", read(&config).expect_err("it is not known"));
        let known =
            ["LlamaForCausalLM", "Qwen3ForCausalLM", "Gemma3ForCausalLM", "Phi3ForCausalLM"];
        assert!(error.contains(name) && known.iter().all(|known| error.contains(known)), "{error}");
    }
}

#[test]
fn unsupported_features_are_refused_by_name() {
    let refused = [
        (with(gemma3(), json!({"use_bidirectional_attention": true})), "from left to right"),
        (with(gemma2(), json!({"hidden_activation": "gelu"})), "hidden_act \"gelu\""),
        (
            with(llama(), json!({"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}})),
            "\"dynamic\" is not computed",
        ),
        (
            with(mistral(), json!({"layer_types": vec!["chunked_attention"; 32]})),
            "\"chunked_attention\"",
        ),
        (with(mistral(), json!({"layer_types": ["full_attention"]})), "layer_types names 1 layers"),
        (with(mistral(), json!({"sliding_window": 0})), "sliding_window is 0"),
        (
            with(gemma2(), json!({"attn_logit_softcapping": -1.0})),
            "attn_logit_softcapping must be above zero",
        ),
        (
            with(gemma2(), json!({"query_pre_attn_scalar": 0})),
            "query_pre_attn_scalar 0 must be above zero",
        ),
        (with(phi3(), json!({"partial_rotary_factor": 1.5})), "partial_rotary_factor 1.5"),
    ];
    for (config, words) in refused {
        let error = format!("{:#}", read(&config).expect_err(words));
        assert!(error.contains(words) && error.contains("config.json"), "{error}");
    }
}
