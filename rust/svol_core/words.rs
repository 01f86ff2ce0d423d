// SPDX-License-Identifier: GPL-2.0

//! Enums with a word (in table lines, messages and status) and a code (on disk) for each value.

/// Declares such an enum, with `parse`, `word`, `code`, `from_code` and `Display`.
///
/// Words and codes are interfaces: once released, neither changes its meaning.
macro_rules! word_enum {
    (
        $(#[$meta:meta])*
        pub enum $name:ident {
            $( $(#[$variant_meta:meta])* $variant:ident = $code:literal, $word:literal; )+
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum $name {
            $( $(#[$variant_meta])* $variant, )+
        }

        impl $name {
            /// All values, in the order of their codes.
            pub const ALL: &'static [Self] = &[ $( Self::$variant, )+ ];

            /// The value that `word` stands for, if any.
            pub fn parse(word: &[u8]) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.word().as_bytes() == word)
            }

            /// The word for this value.
            pub const fn word(self) -> &'static str {
                match self {
                    $( Self::$variant => $word, )+
                }
            }

            /// The code of this value on disk; never zero.
            pub const fn code(self) -> u8 {
                match self {
                    $( Self::$variant => $code, )+
                }
            }

            /// The value that `code` stands for on disk, if any.
            pub const fn from_code(code: u8) -> Option<Self> {
                match code {
                    $( $code => Some(Self::$variant), )+
                    _ => None,
                }
            }
        }

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.pad(self.word())
            }
        }
    };
}

pub(super) use word_enum;
