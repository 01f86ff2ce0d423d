// SPDX-License-Identifier: GPL-2.0

//! Messages: whatever the words are, the answer is a message or an error about them.

use proptest::prelude::*;
use svol_core::svol_core::message::Message;

fn word() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => prop::sample::select(vec![
            "query", "restore", "onto", "fail", "readd", "rollback", "set_attr", "ro", "rw",
            "spare", "increments", "add", "-", "remove", "replace_meta", "0", "1", "8", "scrub",
            "start", "stop", "repair", "rebuild_rate", "pair_create", "pair_split", "all",
            "pair_resync", "reverse", "LV0", "LV1", "LV2", "/dev/x", "18446744073709551615", "",
        ])
        .prop_map(|word| word.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..200),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn random_messages(words in prop::collection::vec(word(), 0..8)) {
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        if let Err(error) = Message::parse(words.iter().copied()) {
            prop_assert!(error.at <= words.len());
            prop_assert!(error.word.is_none_or(|word| words[error.at] == word));
            let text = error.to_string();
            prop_assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
        }
    }
}
