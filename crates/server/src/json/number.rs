//! Numbers in JSON: as Java prints them, with quoted names for what JSON has no number for.

pub use henge_number::{put_i64 as push_i64, put_json_f32 as push_f32, put_json_f64 as push_f64, put_u64 as push_u64};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn double(value: f64) -> String {
        let mut out = Vec::new();
        push_f64(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    fn float(value: f32) -> String {
        let mut out = Vec::new();
        push_f32(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn doubles_print_as_java_prints_them() {
        for (value, expected) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (4.0, "4.0"),
            (-2.25, "-2.25"),
            (0.001, "0.001"),
            (0.00099, "9.9E-4"),
            (9_999_999.0, "9999999.0"),
            (9_999_999.5, "9999999.5"),
            (1e7, "1.0E7"),
            (123_456_789.0, "1.23456789E8"),
            (-12_345_678.5, "-1.23456785E7"),
            (1e300, "1.0E300"),
            (1.797_693_134_862_315_7e308, "1.7976931348623157E308"),
            (2e-5, "2.0E-5"),
            (66.666_666_666_666_67, "66.66666666666667"),
            (f64::NAN, "\"NaN\""),
            (f64::INFINITY, "\"Infinity\""),
            (f64::NEG_INFINITY, "\"-Infinity\""),
        ] {
            assert_eq!(double(value), expected, "{value:e}");
        }
    }

    #[test]
    fn floats_print_their_own_digits() {
        assert_eq!(float(1.1), "1.1");
        assert_eq!(float(1.5), "1.5");
        assert_eq!(float(16_777_216.0), "1.6777216E7");
        assert_eq!(float(1e-10), "1.0E-10");
    }

    proptest! {
        #[test]
        fn every_double_reads_back(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            prop_assert_eq!(double(value).parse::<f64>().unwrap().to_bits(), bits);
        }
    }
}
