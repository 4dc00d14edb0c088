use super::*;

fn yaml(text: &str) -> Value {
    parse_yaml(text).unwrap().root.value
}

fn string(text: &str) -> Value {
    Value::String(text.into())
}

fn number(text: &str) -> Value {
    Value::Number(text.into())
}

#[test]
fn plain_scalars_resolve_as_in_envoy() {
    for (text, value) in [
        ("12", number("12")),
        ("+5", number("5")),
        ("0x10", number("16")),
        ("010", number("8")),
        ("08", string("08")),
        ("1.0", string("1.0")),
        ("1e5", string("1e5")),
        ("1_000", string("1_000")),
        ("3000000000", string("3000000000")),
        ("99999999999999999999", string("99999999999999999999")),
        ("yes", Value::Bool(true)),
        ("Off", Value::Bool(false)),
        ("y", Value::Bool(true)),
        ("tRue", string("tRue")),
        ("~", Value::Null),
        ("Null", Value::Null),
        ("'12'", string("12")),
        ("\"yes\"", string("yes")),
        ("! 12", string("12")),
        ("!!str 12", number("12")),
        ("|-\n  12", string("12")),
        (".inf", string(".inf")),
    ] {
        assert_eq!(yaml(text), value, "{text}");
    }
}

#[test]
fn anchors_and_ignored_keys() {
    let text = "!ignore base: &b {x: 1}\nuse: *b\nagain: *b\n";
    let Value::Map(entries) = yaml(text) else { panic!() };
    let keys: Vec<&str> = entries.iter().map(|entry| &*entry.key).collect();
    assert_eq!(keys, ["use", "again"]);
    assert_eq!(entries[0].node.get("x").map(|node| &node.value), Some(&number("1")));
}

#[test]
fn the_last_of_equal_keys_counts() {
    let parsed = parse_yaml("a: 1\nb: 2\na: 3\n").unwrap();
    assert_eq!(parsed.root.get("a").map(|node| &node.value), Some(&number("3")));
    assert_eq!(parsed.passed_over.len(), 1);
    assert_eq!((parsed.passed_over[0].line, parsed.passed_over[0].column), (1, 1));
    assert!(parse_yaml("{}\n---\nb: 1\n").unwrap().passed_over[0].message.contains("first"));
}

#[test]
fn aliases_cannot_explode() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..9 {
        let list = vec![format!("*a{}", level - 1); 10].join(", ");
        text += &format!("a{level}: &a{level} [{list}]\n");
    }
    assert!(parse_yaml(&text).unwrap_err().message.contains("aliases expand"));
    assert!(parse_yaml("a: &a [*a]").is_err());
    assert!(parse_yaml("a: *nowhere").is_err());
}

#[test]
fn depth_is_bounded() {
    for open in ["[", "{a: "] {
        assert!(parse_yaml(&open.repeat(100_000)).is_err());
    }
    for open in ["[", "{\"a\":"] {
        assert!(parse_json(&open.repeat(100_000)).is_err());
    }
}

#[test]
fn json_is_read_as_protobuf_reads_it() {
    let text = r#"{'a': "\ud83d\ude00\n", b: [1.5, -2e3, true, null,], "c": {},}"#;
    let root = parse_json(text).unwrap().root;
    assert_eq!(root.get("a").unwrap().value, string("😀\n"));
    let Value::List(items) = &root.get("b").unwrap().value else { panic!() };
    assert_eq!(items[0].value, number("1.5"));
    assert_eq!(items[1].value, number("-2e3"));
    assert_eq!((items[2].line, items[2].column), (1, 40));
    for wrong in [
        "",
        "{",
        "[1,,2]",
        "010",
        "+1",
        ".5",
        "5.",
        "NaN",
        "True",
        "\"\\x\"",
        "\"\\ud83d\"",
        "{} x",
        "/*c*/{}",
        "\"a",
        "[1 2]",
        "{\"a\" 1}",
        "1.e5",
    ] {
        assert!(parse_json(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn positions_count_characters() {
    let root = parse_yaml("ä: {ö: 1, ü: 2}").unwrap().root;
    let inner = root.get("ä").unwrap().get("ü").unwrap();
    assert_eq!((inner.line, inner.column), (1, 14));
    let error = parse_json("{\"ä\": ?}").unwrap_err();
    assert_eq!((error.line, error.column), (1, 7));
}

#[test]
fn paths_lead_to_places() {
    let one = parse_yaml("a:\n  listOf:\n  - x: 1\n  - x: 2\nm: {k.k: 5}\n").unwrap().root;
    let two = parse_yaml("a:\n  list_of: {x: 3}\n").unwrap().root;
    let roots = [&one, &two];
    let at = |path: &str| {
        let place = find(&roots, path).unwrap();
        (place.tree, place.line, place.exact)
    };
    assert_eq!(at("a.list_of[1].x"), (0, 4, true));
    assert_eq!(at("a.list_of[2].x"), (1, 2, true));
    assert_eq!(at("m[\"k.k\"]"), (0, 5, true));
    assert!(!at("a.list_of[7].x").2);
    assert_eq!(at("nothing"), (1, 1, false));
    assert_eq!(at("a[["), (1, 1, false));
}
