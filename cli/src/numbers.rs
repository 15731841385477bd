//! Numbers in requests and in output for people.

/// Parses a number: digits only, no leading zero except in `0`. No sign and no spaces, so that a
/// number has exactly one spelling.
pub fn decimal(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let plain = digits && (text.len() == 1 || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

/// Formats a number with commas between thousands.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Formats a value of a report for people: grouped thousands, short fractions, no quotes or
/// brackets.
pub fn shown(value: &serde_json::Value) -> String {
    use serde_json::Value;
    match value {
        Value::Array(items) if items.is_empty() => "none".into(),
        Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join("; "),
        Value::Null => "none".into(),
        Value::String(text) => text.clone(),
        Value::Bool(yes) => if *yes { "yes" } else { "NO" }.into(),
        Value::Number(number) => match (number.as_u64(), number.as_f64()) {
            (Some(whole), _) => grouped(whole),
            (None, Some(number)) => fraction(number),
            _ => number.to_string(),
        },
        other => other.to_string(),
    }
}

/// Rounds to the significant digits.
fn fraction(number: f64) -> String {
    match number.abs() {
        size if size >= 1000.0 => grouped(number.round() as u64),
        size if size >= 10.0 => format!("{number:.1}"),
        size if size >= 0.1 || size == 0.0 => format!("{number:.2}"),
        _ => format!("{number:.2e}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_number_has_one_spelling() {
        assert_eq!(decimal("0"), Some(0));
        assert_eq!(decimal("17"), Some(17));
        assert_eq!(decimal(&u64::MAX.to_string()), Some(u64::MAX));
        for wrong in ["", "+2", "-2", " 2", "2 ", "02", "0x2", "2.0", "2e1", "18446744073709551616"]
        {
            assert_eq!(decimal(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn no_number_is_shown_with_more_than_three_digits_in_a_row() {
        for (value, expected) in [
            (json!(0), "0"),
            (json!(999), "999"),
            (json!(1_000), "1,000"),
            (json!(u64::MAX), "18,446,744,073,709,551,615"),
            (json!(0.11518052055555555), "0.12"),
            (json!(36.79401207224104), "36.8"),
            (json!(1234567.891), "1,234,568"),
            (json!(0.0), "0.00"),
            (json!(0.00001234), "1.23e-5"),
            (json!([]), "none"),
            (json!(null), "none"),
            (json!(["a", "b"]), "a; b"),
        ] {
            assert_eq!(shown(&value), expected, "{value}");
        }
    }
}
