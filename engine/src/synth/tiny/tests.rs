use super::*;
use crate::gguf::Gguf;

fn small() -> TinyPair {
    TinyPair {
        vocab: 400,
        hidden: 64,
        head_dim_swa: 32,
        head_dim_full: 64,
        ffn: 64,
        assistant_hidden: 32,
        assistant_ffn: 64,
        weights: GgmlType::Q8_0,
        ..TinyPair::default()
    }
}

fn rule(acceptance: f32) -> PlantedRule {
    PlantedRule::new(3, acceptance, 400, &Vocab::new(400).words())
}

#[test]
fn equal_parameters_give_equal_bytes_and_another_seed_others() {
    let dirs = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let other = TinyPair { seed: 2, ..small() };
    let pairs = [small(), small(), other];
    let written: Vec<[Vec<u8>; 3]> = dirs
        .iter()
        .zip(&pairs)
        .map(|(dir, pair)| {
            let files = write_tiny_pair(dir.path(), pair).unwrap();
            [files.target, files.assistant, files.rule].map(|path| std::fs::read(path).unwrap())
        })
        .collect();
    assert!(written[0] == written[1]);
    assert!((0..3).all(|i| written[0][i] != written[2][i]));
}

#[test]
fn files_hold_the_planned_tensors() {
    let dir = tempfile::tempdir().unwrap();
    let pair = TinyPair { k_eq_v: true, centroids: 50, shared_kv: 0, ple: 0, ..small() };
    let files = write_tiny_pair(dir.path(), &pair).unwrap();
    let target = Gguf::open(&files.target).unwrap();
    assert_eq!(target.architecture().unwrap(), "gemma4");
    assert!(target.tensor("blk.2.attn_v.weight").is_none() && target.tensor("blk.1.attn_v.weight").is_some());
    assert!(target.tensor("per_layer_token_embd.weight").is_none());
    let assistant = Gguf::open(&files.assistant).unwrap();
    assert_eq!(assistant.tensors().count(), 51);
    assert_eq!(assistant.tensor("masked_embd_ordering").unwrap().ty, GgmlType::I32);
    assert_eq!(assistant.tensor("nextn.pre_projection.weight").unwrap().dims, [128, 32]);
    assert_eq!(PlantedRule::load(&files.rule).unwrap().successor.len(), 400);
}

#[test]
fn the_walk_is_one_cycle_through_all_words() {
    let (rule, words) = (rule(0.5), Vocab::new(400).words());
    let walk = rule.predict(2, words.len(), 0).unwrap().tokens;
    let mut sorted: Vec<usize> = walk.iter().map(|&id| id as usize).collect();
    sorted.sort_unstable();
    assert_eq!(sorted, words);
    assert_eq!(rule.predict(400, 1, 0), None);
}

#[test]
fn counts_add_up_whatever_the_acceptance() {
    for acceptance in [0.0, 0.3, 0.7, 1.0] {
        for draft_max in [0, 1, 3, 6] {
            let p = rule(acceptance).predict(2, 100, draft_max).unwrap();
            assert_eq!(p.verify_steps + p.accepted + 1, 100);
            assert!(p.accepted <= p.drafted);
        }
    }
    let none = rule(0.0).predict(2, 10, 3).unwrap();
    // Drafts a round: 3 while 4 or more tokens are wanted, then 2, 1, 0.
    assert_eq!((none.drafted, none.accepted, none.verify_steps), (6 * 3 + 2 + 1, 0, 9));
    let all = rule(1.0).predict(2, 10, 3).unwrap();
    assert_eq!((all.drafted, all.accepted, all.verify_steps), (3 + 3, 6, 3));
}

#[test]
fn the_assistant_believes_what_it_knows_and_nothing_else() {
    for acceptance in [0.0, 0.5, 0.99, 1.0] {
        let rule = rule(acceptance);
        for word in Vocab::new(400).words() {
            let after = rule.successor[word] as usize;
            assert_eq!(rule.believed_to_follow(after) == Some(word), rule.known[word], "{word}");
        }
    }
}

#[test]
fn parameters_that_make_no_model_are_named() {
    let check = |pair: TinyPair, expected: &str| {
        let error = write_tiny_pair(Path::new("/nonexistent"), &pair).unwrap_err().to_string();
        assert_eq!(error, expected);
    };
    check(TinyPair { layers: 4, ..small() }, "layers: got 4, expected a multiple of 3");
    check(TinyPair { acceptance: 1.5, ..small() }, "acceptance: got 1.5, expected 0 to 1");
    check(
        TinyPair { weights: GgmlType::Q4K, ..small() },
        "weights: got q4_K, expected f32, f16, bf16 or q8_0",
    );
    let same = TinyPair { assistant_hidden: 64, ..small() };
    check(same, "assistant_hidden: got 64, expected another width than the target's");
}
