//! Amounts as whole minor units of one currency; currencies are never added together.

use iso_currency::Currency;
use rust_decimal::Decimal;

/// Why an amount cannot be taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    #[error("is not an ISO 4217 currency code such as EUR")]
    UnknownCurrency,
    #[error("is not a decimal number such as 9.99")]
    NotANumber,
    #[error("has more decimals than the currency")]
    TooPrecise,
    #[error("must not be negative")]
    Negative,
    #[error("is too large")]
    TooLarge,
}

/// `"9.99", "EUR"` gives 999; `"500", "JPY"` gives 500.
pub fn minor_units(amount: &str, currency: &str) -> Result<i64, MoneyError> {
    let exponent = exponent(currency).ok_or(MoneyError::UnknownCurrency)?;
    let amount = Decimal::from_str_exact(amount.trim()).map_err(|_| MoneyError::NotANumber)?;
    if amount.is_sign_negative() && !amount.is_zero() {
        return Err(MoneyError::Negative);
    }
    let scale = Decimal::from(10_i64.pow(exponent));
    let minor = amount.checked_mul(scale).ok_or(MoneyError::TooLarge)?;
    if !minor.fract().is_zero() {
        return Err(MoneyError::TooPrecise);
    }
    // 2^53 - 1: the largest whole number that every client can read.
    i64::try_from(minor.trunc()).ok().filter(|minor| *minor < 1 << 53).ok_or(MoneyError::TooLarge)
}

/// 999 of EUR as `9.99`, with exactly the currency's decimals.
pub fn decimal_text(minor: i64, currency: &str) -> String {
    Decimal::new(minor, exponent(currency).unwrap_or(2)).to_string()
}

/// How many minor units one unit of a currency is.
pub fn minor_units_of_one(currency: &str) -> f64 {
    10_f64.powi(i32::try_from(exponent(currency).unwrap_or(2)).unwrap_or(0))
}

fn exponent(currency: &str) -> Option<u32> {
    Some(u32::from(Currency::from_code(currency)?.exponent().unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_become_whole_minor_units() {
        for (amount, currency, expected) in [
            ("9.99", "EUR", Ok(999)),
            ("9.9", "USD", Ok(990)),
            ("0", "USD", Ok(0)),
            ("500", "JPY", Ok(500)),
            ("1.5", "JPY", Err(MoneyError::TooPrecise)),
            ("1.234", "KWD", Ok(1234)),
            ("9.999", "EUR", Err(MoneyError::TooPrecise)),
            ("-1", "EUR", Err(MoneyError::Negative)),
            ("1e3", "EUR", Err(MoneyError::NotANumber)),
            ("90071992547409.91", "EUR", Ok((1 << 53) - 1)),
            ("90071992547409.92", "EUR", Err(MoneyError::TooLarge)),
            ("1", "XXZ", Err(MoneyError::UnknownCurrency)),
        ] {
            assert_eq!(minor_units(amount, currency), expected, "{amount} {currency}");
        }
    }

    #[test]
    fn text_has_the_decimals_of_its_currency() {
        assert_eq!(decimal_text(990, "EUR"), "9.90");
        assert_eq!(decimal_text(-990, "EUR"), "-9.90");
        assert_eq!(decimal_text(500, "JPY"), "500");
        assert_eq!(decimal_text(1234, "KWD"), "1.234");
    }
}
