use super::*;

#[test]
fn finds_the_field_in_envoys_words() {
    let field = |error: &str| envoys_field(error);
    let pgv = "Proto constraint validation failed (AValidationError.Bb: embedded message failed \
               validation | caused by CValidationError.DdEe[0]: value is required)";
    assert_eq!(field(pgv).as_deref(), Some("dd_ee"));
    assert_eq!(field("near 1:4: no such field: 'hosts') has").as_deref(), Some("hosts"));
    assert_eq!(field("Invalid path: x"), None);
}

#[test]
fn tells_not_supported_from_wrong() {
    let wrong = r#"{"errors":[{"severity":"error","path":"a.b","line":3,"message":"bad"}]}"#;
    assert_eq!(rejected(wrong), Answer::Rejected("line 3 a.b: bad".into()));
    let later = r#"[{"severity":"error","path":"a","message":"x is not supported yet"},
                    {"severity":"warning","path":"a","message":"deprecated"}]"#;
    assert!(matches!(rejected(later), Answer::Unsupported(_)));
}

#[test]
fn tells_plain_configurations() {
    let plain = "envoy.extensions.filters.http.router.v3.Router";
    assert_eq!(class("yes", plain, "envoy.filters.http.router lb:RANDOM"), "tier 1, plain HTTP/1");
    assert_eq!(class("yes", plain, "cluster:EDS"), "tier 1, more");
    assert_eq!(class("yes", "a.v3.Other", ""), "tier 1, more");
    assert_eq!(class("no", plain, ""), "later tiers");
}

#[test]
fn counts_by_class() {
    let case = |class: &str, accepted: bool, answer: Answer| Judged {
        row: Row { file: "f".into(), class: class.into(), accepted, error: String::new() },
        answer,
        names_field: None,
    };
    let figures = figures(&[
        case("tier 1", true, Answer::Accepted),
        case("tier 1", true, Answer::Unsupported(String::new())),
        case("tier 1", true, Answer::Rejected(String::new())),
        case("pgv", false, Answer::Accepted),
        case("env", false, Answer::Accepted),
        case("env", false, Answer::Broken(String::new())),
    ]);
    assert_eq!(figures.classes["tier 1"], [3, 1, 1, 1, 0, 0]);
    assert_eq!(figures.wrongly_accepted.len(), 1);
    assert_eq!(figures.broken.len(), 1);
}
