use serde_json::{Value, json};

use super::*;

/// The files of an adapter whose modules have input width 2 and output width 3. For each module:
/// name, rank, and constant values of A and B.
fn files(changes: Value, modules: &[(&str, usize, f32, f32)]) -> (Vec<u8>, Vec<u8>) {
    let mut config = json!({
        "peft_type": "LORA",
        "r": 2,
        "lora_alpha": 4.0,
        "target_modules": ["q_proj", "v_proj"]
    });
    for (name, value) in changes.as_object().expect("changes are an object") {
        config[name] = value.clone();
    }
    let mut tensors = BTreeMap::new();
    for (module, rank, a, b) in modules {
        tensors.insert(
            format!("{PREFIX}{module}.lora_A.weight"),
            (vec![*rank, 2], vec![*a; rank * 2]),
        );
        tensors.insert(
            format!("{PREFIX}{module}.lora_B.weight"),
            (vec![3, *rank], vec![*b; 3 * rank]),
        );
    }
    let adapter = Adapter { rank: 2, alpha: 4.0, target_modules: Vec::new(), tensors, model: None };
    (config.to_string().into_bytes(), weights(&adapter).expect("shapes fit"))
}

fn parsed(changes: Value, modules: &[(&str, usize, f32, f32)]) -> Result<Adapter> {
    let (config, weights) = files(changes, modules);
    parse(&config, &weights)
}

#[track_caller]
fn refused(changes: Value, modules: &[(&str, usize, f32, f32)], words: &str) {
    let error = format!("{:#}", parsed(changes, modules).expect_err(words));
    assert!(error.contains(words), "{error}");
}

const Q: &str = "model.layers.0.self_attn.q_proj";
const V: &str = "model.layers.1.self_attn.v_proj";

/// The entries of an adapter's weight update where A is constant `a` and B constant `b`: scale *
/// rank * a * b.
fn added(adapter: &Adapter, module: &str) -> f64 {
    let matrix =
        |letter: &str| &adapter.tensors[&format!("{PREFIX}{module}.lora_{letter}.weight")].1;
    let first_row_of_b = &matrix("B")[..adapter.rank];
    let first_column_of_a = matrix("A").iter().step_by(2);
    let product: f64 = first_row_of_b
        .iter()
        .zip(first_column_of_a)
        .map(|(b, a)| f64::from(*b) * f64::from(*a))
        .sum();
    product * adapter.alpha / adapter.rank as f64
}

#[test]
fn an_adapter_reads_back_bit_for_bit() {
    let tensor = |shape: [usize; 2], values: &[f32]| (shape.to_vec(), values.to_vec());
    let adapter = Adapter {
        rank: 1,
        alpha: 2.0,
        target_modules: vec!["q_proj".to_owned()],
        tensors: BTreeMap::from([
            (
                format!("{PREFIX}a.q_proj.lora_A.weight"),
                tensor([1, 3], &[1.0 / 3.0, -0.0, f32::MIN_POSITIVE]),
            ),
            (format!("{PREFIX}a.q_proj.lora_B.weight"), tensor([1, 1], &[1e30])),
        ]),
        model: None,
    };
    let back = parse(
        &config(&adapter, "nestling").expect("plain"),
        &weights(&adapter).expect("shapes fit"),
    )
    .expect("reads back");
    assert_eq!(back, adapter);
    assert_eq!(adapter_sha256(&back).expect("hashes"), adapter_sha256(&adapter).expect("hashes"));
}

#[test]
fn the_scale_is_alpha_over_rank_or_over_its_root() {
    let plain = parsed(json!({}), &[(Q, 2, 3.0, 5.0)]).expect("plain");
    assert_eq!((plain.rank, plain.alpha, added(&plain, Q)), (2, 4.0, 2.0 * 30.0));
    let rooted = parsed(json!({"use_rslora": true}), &[(Q, 2, 3.0, 5.0)]).expect("rank-stabilised");
    assert!((added(&rooted, Q) - 4.0 / 2f64.sqrt() * 30.0).abs() < 1e-4);
}

#[test]
fn modules_of_different_ranks_and_alphas_become_one_adapter_with_the_same_products() {
    let changes =
        json!({"rank_pattern": {"v_proj": 3}, "alpha_pattern": {r"model\.layers\.1\..*": 12.0}});
    let adapter = parsed(changes, &[(Q, 2, 3.0, 5.0), (V, 3, 1.0, 1.0)]).expect("patterns");
    assert_eq!((adapter.rank, added(&adapter, Q), added(&adapter, V)), (3, 2.0 * 30.0, 4.0 * 3.0));
    assert_eq!(
        adapter.tensors[&format!("{PREFIX}{Q}.lora_B.weight")].1,
        [10.0, 10.0, 0.0].repeat(3)
    );
}

#[test]
fn target_modules_are_names_that_end_a_path_or_a_pattern_of_the_whole() {
    for targets in [
        json!(["q_proj"]),
        json!([Q]),
        json!("all-linear"),
        json!(r".*\.self_attn\.(q|v)_proj"),
        Value::Null,
    ] {
        assert!(
            parsed(json!({"target_modules": targets}), &[(Q, 2, 1.0, 1.0)]).is_ok(),
            "{targets}"
        );
    }
    for targets in [json!(["proj"]), json!(["k_proj"]), json!("q_proj"), json!([])] {
        refused(json!({"target_modules": targets}), &[(Q, 2, 1.0, 1.0)], "no target module");
    }
    refused(json!({"exclude_modules": ["q_proj"]}), &[(Q, 2, 1.0, 1.0)], "no target module");
    refused(json!({"target_modules": "(?=x)q"}), &[(Q, 2, 1.0, 1.0)], "cannot be read");
}

#[test]
fn layers_that_are_not_transformed_have_no_weights() {
    assert!(
        parsed(json!({"layers_to_transform": [0, 1]}), &[(Q, 2, 1.0, 1.0), (V, 2, 1.0, 1.0)])
            .is_ok()
    );
    assert!(parsed(json!({"layers_to_transform": 0}), &[(Q, 2, 1.0, 1.0)]).is_ok());
    refused(json!({"layers_to_transform": 0}), &[(V, 2, 1.0, 1.0)], "no target module");
}

#[test]
fn what_is_not_computed_is_refused_by_name() {
    for (changes, words) in [
        (json!({"use_dora": true}), "use_dora"),
        (json!({"modules_to_save": ["lm_head"]}), "modules_to_save"),
        (json!({"bias": "all"}), "trains biases"),
        (json!({"lora_bias": true}), "lora_bias"),
        (json!({"fan_in_fan_out": true}), "fan_in_fan_out"),
        (json!({"layer_replication": [[0, 2]]}), "layer_replication"),
        (json!({"something_new": 3}), "something_new"),
        (json!({"peft_type": "LOHA"}), "\"LOHA\""),
        (json!({"init_lora_weights": "pissa_niter_4"}), "changes the base's own weights"),
        (json!({"layers_pattern": "blocks"}), "layers_pattern"),
        (json!({"r": 0}), "rank 0"),
        (json!({"r": "many"}), "adapter_config.json"),
    ] {
        refused(changes, &[(Q, 2, 1.0, 1.0)], words);
    }
}

#[test]
fn files_that_do_not_belong_together_are_refused() {
    refused(json!({"r": 3}), &[(Q, 2, 1.0, 1.0)], "says rank 3");
    refused(json!({}), &[], "holds no LoRA weights");
    let names: Vec<String> =
        (0..900).map(|layer| format!("model.layers.{layer}.self_attn.q_proj")).collect();
    let mut modules: Vec<(&str, usize, f32, f32)> =
        names.iter().map(|name| (name.as_str(), 2, 1.0, 1.0)).collect();
    modules.push((V, 1_000_000, 0.0, 0.0));
    refused(json!({"rank_pattern": {"v_proj": 1_000_000}}), &modules, "ranks that differ less");
    let (config, _) = files(json!({}), &[]);
    let odd = |name: &str, shape: &[usize]| {
        let tensors = BTreeMap::from([(
            name.to_owned(),
            (shape.to_vec(), vec![0.0; shape.iter().product()]),
        )]);
        let adapter =
            Adapter { rank: 2, alpha: 4.0, target_modules: Vec::new(), tensors, model: None };
        format!("{:#}", parse(&config, &weights(&adapter).expect("shapes fit")).expect_err(name))
    };
    assert!(
        odd(&format!("{PREFIX}{Q}.lora_A.weight"), &[2, 2])
            .contains("only one of lora_A and lora_B")
    );
    assert!(odd(&format!("{PREFIX}{Q}.lora_A.weight"), &[4]).contains("a matrix is needed"));
    for name in [
        "lm_head.weight",
        "base_model.model.lm_head.lora_embedding_A",
        "base_model.model.q_proj.lora_magnitude_vector",
    ] {
        assert!(odd(name, &[2, 2]).contains("no weight of a LoRA"), "{name}");
    }
    assert!(
        parse(&config, b"\x08\0\0\0\0\0\0\0{}      ").is_err()
            && parse(b"{", &[]).is_err()
            && parse(b"[]", &[]).is_err()
    );
}

#[test]
fn padding_to_the_largest_rank_is_bounded_by_what_the_file_holds() {
    let names: Vec<String> =
        (0..100).map(|layer| format!("model.layers.{layer}.self_attn.q_proj")).collect();
    let with = |largest: usize| {
        let mut modules: Vec<(&str, usize, f32, f32)> =
            names.iter().map(|name| (name.as_str(), 1, 1.0, 1.0)).collect();
        modules.push((V, largest, 1.0, 1.0));
        parsed(json!({"r": 1, "rank_pattern": {"v_proj": largest}}), &modules)
    };
    assert_eq!(with(64).expect("ranks that people train").rank, 64);
    assert!(with(1000).is_err());
}

#[test]
fn patterns_are_compiled_once_and_bounded_in_number() {
    let names: Vec<String> =
        (0..2000).map(|layer| format!("model.layers.{layer}.self_attn.q_proj")).collect();
    let modules: Vec<(&str, usize, f32, f32)> =
        names.iter().map(|name| (name.as_str(), 2, 1.0, 1.0)).collect();
    let keys = |count: usize| {
        let ranks: serde_json::Map<String, Value> =
            (0..count).map(|key| (format!("mlp.{key}.up_proj"), json!(3))).collect();
        parsed(json!({"rank_pattern": ranks}), &modules)
    };
    assert_eq!(keys(1000).expect("as many as modules may have").rank, 2);
    assert!(keys(1001).is_err());
    let alphas: serde_json::Map<String, Value> =
        (0..1001).map(|key| (format!("{key}"), json!(1.0))).collect();
    assert!(parsed(json!({"alpha_pattern": alphas}), &modules[..1]).is_err());
}

#[test]
fn a_file_of_more_tensors_than_a_language_model_has_modules_is_refused() {
    let names: Vec<String> =
        (0..8193).map(|layer| format!("model.layers.{layer}.self_attn.q_proj")).collect();
    let modules: Vec<(&str, usize, f32, f32)> =
        names.iter().map(|name| (name.as_str(), 2, 1.0, 1.0)).collect();
    assert!(parsed(json!({}), &modules).is_err());
    assert!(parsed(json!({}), &modules[..7000]).is_ok());
}

#[test]
fn a_folder_without_weights_or_with_pickled_ones_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let error = |folder: &Path| format!("{:#}", read(folder).expect_err("it is not whole"));
    assert!(error(folder.path()).contains("adapter_config.json: missing"));
    let (config, weights) = files(json!({}), &[(Q, 2, 1.0, 1.0)]);
    fs::write(folder.path().join(CONFIG), config).expect("ours");
    assert!(error(folder.path()).contains("adapter_model.safetensors: missing"));
    fs::write(folder.path().join("adapter_model.bin"), "pickle").expect("ours");
    assert!(error(folder.path()).contains("pickled weights are never read"));
    fs::write(folder.path().join(WEIGHTS), weights).expect("ours");
    assert_eq!(read(folder.path()).expect("whole").tensors.len(), 2);
}
