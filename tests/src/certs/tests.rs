use super::*;

fn store(lines: &[&str]) -> Store {
    let words = |line: &&str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let specs: Vec<Spec> = lines.iter().map(|l| Spec::parse(&words(l)).unwrap()).collect();
    Store::make(&specs).unwrap()
}

#[test]
fn base64_pads() {
    assert_eq!(base64(b""), "");
    assert_eq!(base64(b"f"), "Zg==");
    assert_eq!(base64(b"fo"), "Zm8=");
    assert_eq!(base64(b"foobar"), "Zm9vYmFy");
}

#[test]
fn a_chain_ends_below_the_root() {
    let store = store(&["root ca", "sub ca by=root", "leaf by=sub dns=a.example"]);
    let (chain, _) = store.get("leaf").unwrap().for_rustls();
    let names: Vec<&str> = chain.iter().map(|der| store.name_of(der)).collect();
    assert_eq!(names, ["leaf", "sub"]);
    let pem = &store.get("leaf").unwrap().pem;
    assert_eq!(pem.matches("BEGIN CERTIFICATE").count(), 2);
}

#[test]
fn a_mistake_is_named() {
    let words = ["x".to_owned(), "colour=red".to_owned()];
    assert!(Spec::parse(&words).unwrap_err().to_string().contains("colour"));
    let spec = Spec::parse(&["x".to_owned(), "by=nobody".to_owned()]).unwrap();
    assert!(format!("{:#}", Store::make(&[spec]).unwrap_err()).contains("nobody"));
}
