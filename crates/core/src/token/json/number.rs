//! Numbers as exact as JSON spells them (RFC 8259 §6). Providers send ids that neither a 64-bit
//! integer nor a double can hold, and two ids must never become one.

use std::fmt::{self, Write as _};

/// The largest exponent that is read, positive or negative. Doubles end near 308.
const MAX_EXPONENT: i64 = 9_999;

/// 2^53: up to here, every whole number has its own double.
const MAX_EXACT_DOUBLE: u64 = 1 << 53;

/// A number in a document.
#[derive(Clone, Copy, Debug)]
pub enum Number<'d> {
    /// A whole number that fits into 64 bits, whatever its spelling.
    Integer(i64),
    /// Any other number.
    Decimal(Decimal<'d>),
}

/// A number with its spelling.
///
/// INVARIANT: the text is a valid number. It is parsed only when used, so a lookup of another value
/// can skip it.
#[derive(Clone, Copy, Debug)]
pub struct Decimal<'d>(&'d str);

/// The digits before and after the point, and the exponent.
#[derive(Default)]
struct Parts<'d> {
    integer: &'d str,
    fraction: &'d str,
    exponent: i64,
}

impl Number<'_> {
    /// The number as text: a whole number as digits, so that `1e3` becomes `1000`, and any other
    /// number as it is spelled.
    pub fn to_text(self) -> String {
        self.to_string()
    }

    /// The number, if it is whole and fits into 64 bits unsigned.
    pub fn as_u64(self) -> Option<u64> {
        match self {
            Self::Integer(integer) => integer.try_into().ok(),
            Self::Decimal(decimal) => decimal.whole()?.try_into().ok(),
        }
    }

    /// The nearest double.
    pub fn to_f64(self) -> f64 {
        match self {
            #[expect(
                clippy::cast_precision_loss,
                reason = "the caller asks for the nearest double"
            )]
            Self::Integer(integer) => integer as f64,
            Self::Decimal(decimal) => decimal.to_f64(),
        }
    }

    /// The nearest double. `None` if that could be mistaken for another whole number: for a whole
    /// number beyond ±2^53, or for a fraction that rounds to a whole number.
    pub fn as_distinct_f64(self) -> Option<f64> {
        let double = self.to_f64();
        match self {
            Self::Integer(integer) => {
                (integer.unsigned_abs() <= MAX_EXACT_DOUBLE).then_some(double)
            }
            // A whole number beyond 64 bits also becomes a whole double, so this refuses it.
            Self::Decimal(_) => (double.fract() != 0.0).then_some(double),
        }
    }

    /// A text that is equal for two numbers if and only if the numbers are equal.
    pub fn canonical(self) -> String {
        match self {
            Self::Integer(integer) => integer.to_string(),
            Self::Decimal(decimal) => decimal.canonical(),
        }
    }
}

impl fmt::Display for Number<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(integer) => integer.fmt(f),
            Self::Decimal(decimal) => decimal.fmt(f),
        }
    }
}

impl<'d> Decimal<'d> {
    /// Reads a number (RFC 8259 §6) and nothing else. `None` if it is malformed, or if its exponent
    /// has more than four digits.
    pub fn parse(text: &'d str) -> Option<Self> {
        Parts::of(text).map(|_| Self(text))
    }

    /// Wraps a text that [`Decimal::parse`] has accepted before.
    pub(super) fn accepted(text: &'d str) -> Self {
        Self(text)
    }

    /// The digits without zeros at either end, and the power of ten to multiply them by.
    fn significant(&self) -> (String, i64) {
        let Parts {
            integer,
            fraction,
            exponent,
        } = Parts::of(self.0).unwrap_or_default();
        let digits = [integer, fraction].concat();
        let without_tail = digits.trim_end_matches('0');
        let tail = digits.len() - without_tail.len();
        let significant = without_tail.trim_start_matches('0').to_owned();
        if significant.is_empty() {
            return (significant, 0);
        }
        let power = exponent + length(tail) - length(fraction.len());
        (significant, power)
    }

    /// See [`Number::canonical`].
    pub fn canonical(&self) -> String {
        match self.significant() {
            (_, 0..) => self.to_string(),
            (digits, power) => {
                let sign = if self.is_negative() { "-" } else { "" };
                format!("{sign}{digits}e{power}")
            }
        }
    }

    fn is_negative(&self) -> bool {
        self.0.starts_with('-')
    }

    /// The number, if it is whole and fits into 128 bits.
    pub(super) fn whole(&self) -> Option<i128> {
        let (digits, power) = self.significant();
        let factor = 10_i128.checked_pow(power.try_into().ok()?)?;
        let magnitude = match digits.as_str() {
            "" => 0,
            digits => digits.parse::<i128>().ok()?.checked_mul(factor)?,
        };
        Some(if self.is_negative() {
            -magnitude
        } else {
            magnitude
        })
    }

    fn to_f64(self) -> f64 {
        // Rust parses every JSON number, and rounds it correctly.
        self.0.parse().unwrap_or(f64::NAN)
    }
}

impl fmt::Display for Decimal<'_> {
    /// The same text as [`Number::to_text`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (digits, power) = self.significant();
        let Ok(zeros) = usize::try_from(power) else {
            return f.write_str(self.0);
        };
        if digits.is_empty() {
            return f.write_str("0");
        }
        if self.is_negative() {
            f.write_char('-')?;
        }
        f.write_str(&digits)?;
        (0..zeros).try_for_each(|_| f.write_char('0'))
    }
}

impl<'d> Parts<'d> {
    fn of(text: &'d str) -> Option<Self> {
        let unsigned = text.strip_prefix('-').unwrap_or(text);
        let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent_of(exponent)?),
            None => (unsigned, 0),
        };
        let (integer, fraction) = match mantissa.split_once('.') {
            Some((integer, fraction)) if is_digits(fraction) => (integer, fraction),
            Some(_) => return None,
            None => (mantissa, ""),
        };
        let is_canonical = integer == "0" || !integer.starts_with('0');
        (is_digits(integer) && is_canonical).then_some(Self {
            integer,
            fraction,
            exponent,
        })
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn exponent_of(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let size = digits.parse::<i64>().ok().filter(|_| is_digits(digits))?;
    let exponent = if text.starts_with('-') { -size } else { size };
    (size <= MAX_EXPONENT).then_some(exponent)
}

/// A text length as `i64`.
fn length(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX / 4)
}

/// The spellings of all numbers in a valid JSON text, in order.
pub(super) fn spellings(json: &str) -> impl Iterator<Item = &str> {
    let mut rest = json;
    std::iter::from_fn(move || {
        loop {
            let start = rest.find(|c: char| matches!(c, '"' | '-' | '0'..='9'))?;
            rest = rest.get(start..)?;
            if let Some(string) = rest.strip_prefix('"') {
                rest = behind_string(string)?;
                continue;
            }
            let is_inside = |c: char| matches!(c, '0'..='9' | '+' | '-' | '.' | 'e' | 'E');
            let end = rest.find(|c| !is_inside(c)).unwrap_or(rest.len());
            let (number, behind) = rest.split_at_checked(end)?;
            rest = behind;
            return Some(number);
        }
    })
}

/// The text after a string whose opening quote is already consumed.
fn behind_string(mut rest: &str) -> Option<&str> {
    loop {
        let at = rest.find(['"', '\\'])?;
        let (found, behind) = rest.get(at..)?.split_at_checked(1)?;
        if found == "\"" {
            return Some(behind);
        }
        // The escaped character is ASCII, so it is one byte.
        rest = behind.get(1..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Number<'_> {
        let decimal = Decimal::parse(text).unwrap_or_else(|| panic!("{text}"));
        match decimal.whole().and_then(|whole| whole.try_into().ok()) {
            Some(integer) => Number::Integer(integer),
            None => Number::Decimal(decimal),
        }
    }

    #[test]
    fn whole_numbers_are_digits_and_others_stay_as_spelled() {
        let googol = format!("1{}", "0".repeat(100));
        for (spelled, text) in [
            ("0", "0"),
            ("-0", "0"),
            ("-0.0", "0"),
            ("0e9", "0"),
            ("0.000e-5", "0"),
            ("7", "7"),
            ("1.0", "1"),
            ("-1.50e1", "-15"),
            ("1e3", "1000"),
            ("1E+3", "1000"),
            ("1000e-3", "1"),
            ("10.0e-1", "1"),
            ("1.683061093e+09", "1683061093"),
            ("9007199254740993", "9007199254740993"),
            ("9.007199254740993e15", "9007199254740993"),
            ("18446744073709551616", "18446744073709551616"),
            ("104567890123456789012", "104567890123456789012"),
            ("1.04567890123456789013e20", "104567890123456789013"),
            ("-104567890123456789012.000", "-104567890123456789012"),
            ("1e100", &googol),
            ("-105.92576737390631", "-105.92576737390631"),
            ("1.50", "1.50"),
            ("15e-1", "15e-1"),
            ("1.5E-7", "1.5E-7"),
            ("1e-400", "1e-400"),
            ("9007199254740993.5", "9007199254740993.5"),
        ] {
            assert_eq!(number(spelled).to_text(), text, "{spelled}");
        }
    }

    #[test]
    fn other_spellings_are_not_numbers() {
        for text in [
            "",
            "-",
            "+1",
            "01",
            "-01",
            "1.",
            ".5",
            "1e",
            "1e+",
            "e5",
            "0x10",
            "1_000",
            "NaN",
            "Infinity",
            " 1",
            "1 ",
            "١",
            "1e10000",
            "1e-10000",
            "1e99999999999999999999",
            "1e+-5",
            "--1",
            "1.2.3",
            "1e5.0",
            "1e5e5",
        ] {
            assert!(Decimal::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn numbers_are_equal_by_value_and_only_then() {
        for (one, other, same) in [
            ("1", "1.0", true),
            ("1e3", "1000", true),
            ("-0", "0", true),
            ("0.10", "1e-1", true),
            ("1.5", "15e-1", true),
            ("1e20", "100000000000000000000", true),
            ("1", "-1", false),
            ("1", "10", false),
            ("0.1", "0.01", false),
            ("104567890123456789012", "104567890123456789013", false),
            ("18446744073709551616", "18446744073709551615", false),
            ("9007199254740992", "9007199254740993", false),
            ("9223372036854775807", "9223372036854775808", false),
            ("0.1", "0.1000000000000000055511151231257827", false),
            ("1e-400", "0", false),
            ("0.99999999999999999999", "1", false),
        ] {
            let (one, other) = (number(one).canonical(), number(other).canonical());
            assert_eq!(one == other, same, "{one} {other}");
        }
    }

    #[test]
    fn a_double_stands_for_no_other_whole_number() {
        for (spelled, double) in [
            ("0", Some(0.0)),
            ("-3", Some(-3.0)),
            ("1e3", Some(1000.0)),
            ("9007199254740992", Some(9_007_199_254_740_992.0)),
            ("9007199254740993", None),
            ("-9007199254740992", Some(-9_007_199_254_740_992.0)),
            ("-9007199254740993", None),
            ("18446744073709551616", None),
            ("0.1", Some(0.1)),
            ("-105.92576737390631", Some(-105.925_767_373_906_31)),
            ("0.99999999999999999999", None),
            ("1e-400", None),
            ("9007199254740993.5", None),
        ] {
            assert_eq!(number(spelled).as_distinct_f64(), double, "{spelled}");
        }
    }

    #[test]
    fn numbers_are_found_where_they_stand() {
        for (json, expected) in [
            ("{}", vec![]),
            (r#"{"a1":[1,-2.5e+3,{"b":0}]}"#, vec!["1", "-2.5e+3", "0"]),
            (r#"{"a\"1":"2\\","é\\\"3":4}"#, vec!["4"]),
            (r#"{"a":true,"b":null,"c":"\u0031","d":5}"#, vec!["5"]),
            ("1", vec!["1"]),
        ] {
            let found: Vec<_> = spellings(json).collect();
            assert_eq!(found, expected, "{json}");
        }
    }
}
