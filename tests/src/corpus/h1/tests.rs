use super::*;

#[test]
fn reads_a_row_of_the_recording() {
    let line =
        "a.bin\tsrc\t1\t200\topen\t1\td:GET / HTTP/1.1\\r\\nhost: a\\r\\n\\r\\n\t400\tclosed\t0\t";
    let row = row(line).unwrap();
    assert!(row.stable);
    assert_eq!(row.outcomes[0].requests[0].line, "GET / HTTP/1.1");
    assert_eq!(row.outcomes[1].statuses, ["400"]);
    assert_eq!(row.outcomes[1].count, 0);
}

#[test]
fn equal_columns_are_filled_in() {
    let row = row("a\ts\t0\t-\topen\t0\t\t-\topen\t0\t=").unwrap();
    assert_eq!(row.outcomes[0], row.outcomes[1]);
    assert!(!row.stable);
}

#[test]
fn unescapes() {
    assert_eq!(unescape("a\\r\\n\\x00\\\\b\\q"), b"a\r\n\0\\b\\q");
}
