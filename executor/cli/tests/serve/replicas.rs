//! A scheduler as it is run: from a settings file, alone on SQLite and as two replicas on PostgreSQL.

use tempfile::TempDir;

use crate::cluster::Cluster;
use crate::place::{Place, call, curl, write_secret};

#[test]
fn one_serves_from_a_file_until_sigterm_and_goes_on_where_it_was() {
    let dir = TempDir::new().unwrap();
    let place = Place::new(dir.path(), "one", "", "");
    let serving = place.serve();
    // Made beside a serving one.
    let token = place.token();
    for path in ["/healthz", "/readyz"] {
        let answer = curl(&[&format!("http://{}{path}", serving.api)]);
        assert_eq!(answer.status, "200", "{answer:?}");
    }
    let region = format!("http://{}/v1/regions/north", serving.api);
    call(None, &token, "PUT", &region, r#"{"name": "North"}"#).expect("200");
    assert!(serving.stop().success());

    let serving = place.serve();
    let regions = format!("http://{}/v1/regions", serving.api);
    let seen = call(None, &token, "GET", &regions, "");
    assert_eq!(seen.expect("200")["regions"][0]["slug"], "north");
    assert!(serving.stop().success());
}

#[test]
fn two_replicas_on_postgresql_share_all_and_stop_one_after_the_other() {
    let cluster = Cluster::start();
    let dir = TempDir::new().unwrap();
    let dir = dir.path();
    write_secret(&dir.join("url"), &cluster.create("davit"));
    let here = dir.display();
    let settings = format!(
        "store.database = \"postgresql\"\nstore.url_file = \"{here}/url\"\nstore.connections_max = 4\n\
         keys.directory = \"{here}/keys\"\nobjects.directory = \"{here}/objects\""
    );
    let places = ["one", "two"].map(|name| Place::new(dir, name, &settings, ""));
    let token = places[0].token();
    let [one, two] = places.map(|place| place.serve());
    let region = format!("http://{}/v1/regions/north", one.api);
    call(None, &token, "PUT", &region, r#"{"name": "North"}"#).expect("200");
    let regions = format!("http://{}/v1/regions", two.api);
    let seen = call(None, &token, "GET", &regions, "");
    assert_eq!(seen.expect("200")["regions"][0]["slug"], "north");

    assert!(one.stop().success());
    let seen = call(None, &token, "GET", &regions, "");
    assert_eq!(seen.expect("200")["regions"][0]["slug"], "north");
    assert!(two.stop().success());
}
