use proptest::prelude::*;

use super::value::Width;
use super::*;

/// Two tensors, every kind of value.
fn sample() -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sample.gguf");
    let mut writer = GgufWriter::new();
    for (key, value) in sample_values() {
        writer.set(key, value);
    }
    writer.declare("a", &[3], GgmlType::F32).unwrap();
    writer.declare("b", &[32, 2], GgmlType::Q8_0).unwrap();
    let expected_bytes = writer.file_bytes();
    let mut sink = writer.begin(&path).unwrap();
    sink.write("a", &[1; 12]).unwrap();
    sink.write("b", &[2; 34]).unwrap();
    sink.write("b", &[3; 34]).unwrap();
    sink.finish().unwrap();
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(bytes.len() as u64, expected_bytes);
    bytes
}

fn sample_values() -> Vec<(&'static str, Value)> {
    vec![
        ("general.architecture", Value::str("gemma4")),
        ("n", Value::u32(7)),
        ("small", Value::Signed(-3, Width::W8)),
        ("wide", Value::Unsigned(u64::MAX, Width::W64)),
        ("byte", Value::Unsigned(200, Width::W8)),
        ("short", Value::Signed(-300, Width::W16)),
        ("long", Value::Signed(i64::MIN, Width::W64)),
        ("shorts", Value::Array(Array::Unsigned(vec![0, 65_535], Width::W16))),
        ("longs", Value::Array(Array::Signed(vec![-1, i64::MAX], Width::W64))),
        ("doubles", Value::Array(Array::F64(vec![0.1]))),
        ("x", Value::F32(0.5)),
        ("y", Value::F64(-0.25)),
        ("flag", Value::Bool(true)),
        ("texts", Value::Array(Array::Str(vec!["".to_owned(), "▁x".to_owned()]))),
        ("ints", Value::Array(Array::Signed(vec![1, 2, 3], Width::W32))),
        ("flags", Value::Array(Array::Bool(vec![true, false]))),
        ("floats", Value::Array(Array::F32(vec![1.0, 2.0]))),
    ]
}

#[test]
fn a_subset_keeps_values_and_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("less.gguf");
    let mut writer = GgufWriter::new();
    sample_values().into_iter().for_each(|(key, value)| writer.set(key, value));
    writer.set(ALIGNMENT_KEY, Value::u32(32));
    for name in ["a", "b"] {
        writer.declare(name, &[3], GgmlType::F32).unwrap();
    }
    let mut sink = writer.begin(&path).unwrap();
    sink.write("a", &[1; 12]).unwrap();
    sink.write("b", &[2; 12]).unwrap();
    sink.finish().unwrap();
    let whole = Gguf::parse(std::fs::read(&path).unwrap()).unwrap();
    write_subset(&whole, &path, |name| name != "a").unwrap();
    let less = Gguf::open(&path).unwrap();
    assert_eq!(less.tensors().map(|tensor| tensor.name).collect::<Vec<_>>(), ["b"]);
    assert_eq!(less.tensor("b").unwrap().data, [2; 12]);
    for (key, value) in sample_values() {
        assert_eq!(less.value(key), Some(&value), "{key}");
    }
    assert_eq!(less.value(ALIGNMENT_KEY), None, "the copy is aligned as files without the key are");
}

#[test]
fn what_is_written_is_read() {
    let gguf = Gguf::parse(sample()).unwrap();
    for (key, value) in sample_values() {
        assert_eq!(gguf.value(key), Some(&value), "{key}");
    }
    let b = gguf.tensor("b").unwrap();
    assert_eq!((b.ne0(), b.rows(), b.n_elements(), b.ty), (32, 2, 64, GgmlType::Q8_0));
    assert_eq!(b.data, [[2; 34], [3; 34]].concat());
    assert_eq!(gguf.tensor("a").unwrap().data, [1; 12]);
    assert!(gguf.tensor("c").is_none());
}

#[test]
fn getters_name_key_value_and_expectation() {
    let gguf = Gguf::parse(sample()).unwrap();
    assert_eq!(gguf.u32("n").unwrap(), 7);
    assert_eq!(gguf.u32_per_layer("n", 2).unwrap(), [7, 7]);
    assert_eq!(gguf.u32_per_layer("ints", 3).unwrap(), [1, 2, 3]);
    assert_eq!(
        gguf.u32_per_layer("ints", 2).unwrap_err().to_string(),
        "metadata key `ints` is an array of i32 (3 of i32), expected 2 integers from 0 to 4294967295, one for each layer"
    );
    assert_eq!(
        gguf.u32("none").unwrap_err().to_string(),
        "metadata key `none` is missing, expected an integer"
    );
    assert!(gguf.u32("small").unwrap_err().to_string().contains("i8 (-3)"));
    assert!(gguf.u32("wide").is_err());
    assert_eq!(gguf.bool_array("flags").unwrap(), [true, false]);
}

#[test]
fn every_truncation_is_an_error() {
    let bytes = sample();
    // The last tensor's padding is not needed.
    let needed = bytes.len() - (bytes.len() - 68) % 32;
    for len in 0..needed {
        if let Ok(gguf) = Gguf::parse(bytes[..len].to_vec()) {
            let held: usize = gguf.tensors().map(|t| t.data.len()).sum();
            assert_eq!(held, 12 + 68, "cut at {len}");
        }
    }
    assert!(Gguf::parse(bytes[..bytes.len() - 64].to_vec()).is_err());
}

#[test]
fn hostile_counts_are_refused_before_anything_is_allocated() {
    let mut bytes = sample();
    for (at, what) in [(8, "tensor count"), (16, "metadata count")] {
        let good = bytes[at..at + 8].to_vec();
        bytes[at..at + 8].copy_from_slice(&u64::MAX.to_le_bytes());
        let error = Gguf::parse(bytes.clone()).unwrap_err().to_string();
        assert!(error.contains(what) && error.contains("at most"), "{error}");
        bytes[at..at + 8].copy_from_slice(&good);
    }
}

#[test]
fn duplicates_overlaps_and_bad_alignment_are_refused() {
    let mut twice = GgufWriter::new();
    twice.set("k", Value::u32(1));
    twice.set("k", Value::u32(2));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("twice.gguf");
    twice.begin(&path).unwrap().finish().unwrap();
    assert!(Gguf::open(&path).unwrap_err().to_string().contains("`k` is there twice"));

    let mut bytes = sample();
    let place = bytes.windows(4).rposition(|w| w == 8_u32.to_le_bytes()).unwrap();
    bytes[place + 4..place + 12].copy_from_slice(&0_u64.to_le_bytes());
    assert!(Gguf::parse(bytes.clone()).unwrap_err().to_string().contains("inside tensor `"));
    bytes[place + 4..place + 12].copy_from_slice(&7_u64.to_le_bytes());
    assert!(Gguf::parse(bytes).unwrap_err().to_string().contains("a multiple of 32"));
}

#[test]
fn an_unfinished_file_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.gguf");
    let mut writer = GgufWriter::new();
    writer.declare("a", &[4], GgmlType::F32).unwrap();
    let mut sink = writer.begin(&path).unwrap();
    sink.write("a", &[0; 8]).unwrap();
    let error = sink.finish().unwrap_err().to_string();
    assert_eq!(error, "bytes of tensor `a`: got 8 bytes, expected 16 bytes");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    assert!(GgufWriter::new().declare("q", &[33], GgmlType::Q8_0).is_err());
}

#[test]
fn a_file_that_cannot_be_made_is_named() {
    let error = GgufWriter::new().begin(std::path::Path::new("/dev/null/x.gguf")).unwrap_err();
    assert!(error.to_string().contains("/dev/null/x.gguf"), "{error}");
}

proptest! {
    #[test]
    fn flipped_bytes_never_panic(at in 0_usize..4096, value: u8, at2 in 0_usize..4096, value2: u8) {
        let mut bytes = sample();
        let len = bytes.len();
        bytes[at % len] = value;
        bytes[at2 % len] = value2;
        if let Ok(gguf) = Gguf::parse(bytes) {
            for tensor in gguf.tensors() {
                prop_assert_eq!(Some(tensor.data.len() as u64), tensor.ty.row_bytes(tensor.ne0()).map(|b| b * tensor.rows()));
            }
        }
    }

    #[test]
    fn noise_never_panics(mut bytes in proptest::collection::vec(any::<u8>(), 0..400), header: bool) {
        if header && bytes.len() >= 24 {
            bytes[..8].copy_from_slice(b"GGUF\x03\0\0\0");
            bytes[8..24].copy_from_slice(&[1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
        }
        drop(Gguf::parse(bytes));
    }
}
