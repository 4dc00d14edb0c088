//! Whole numbers into bytes, without the formatting machinery.

/// Appends a number in decimal.
pub(super) fn push(mut n: u64, out: &mut Vec<u8>) {
    if n < 10 {
        return out.push(b'0' + n as u8);
    }
    let mut digits = [0; 20];
    let mut len = 0;
    for place in digits.iter_mut().rev() {
        *place = b'0' + (n % 10) as u8;
        n /= 10;
        len += 1;
        if n == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(digits.len() - len..).unwrap_or_default());
}
