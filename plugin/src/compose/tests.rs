//! Compose files, what they mean, and what is said of them.

use super::*;

fn sources(texts: &[&str]) -> Vec<Source> {
    let named = |(number, text): (i32, &&str)| Source {
        name: format!("{number}.yaml"),
        text: (*text).to_owned(),
    };
    (1..).zip(texts).map(named).collect()
}

#[track_caller]
fn checked(texts: &[&str]) -> Checked {
    match check(&sources(texts), &Policies::default()) {
        Ok(checked) => checked,
        Err(findings) => panic!("{texts:#?} is refused: {findings:#}"),
    }
}

/// The services that have policy, and what it means.
#[track_caller]
fn means(texts: &[&str], expected: &[(&str, &str)]) {
    let services = checked(texts).services;
    let found: Vec<_> =
        services.iter().map(|it| (it.service.as_str(), it.policy.as_str())).collect();
    assert_eq!(found, expected, "{texts:#?}");
}

/// A file is understood, with these hints, each of which begins and goes on like this.
#[track_caller]
fn hints(text: &str, expected: &[(&str, &str)]) {
    told(&checked(&[text]).hints, text, expected);
}

/// Files are refused, with these problems.
#[track_caller]
fn refuses(texts: &[&str], expected: &[(&str, &str)]) {
    match check(&sources(texts), &Policies::default()) {
        Ok(checked) => panic!("{texts:#?} is understood: {checked:#?}"),
        Err(Findings(found)) => told(&found, &texts.concat(), expected),
    }
}

#[track_caller]
fn told(found: &[Finding], text: &str, expected: &[(&str, &str)]) {
    let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(lines.len(), expected.len(), "{text}\n{lines:#?}");
    for (line, (start, words)) in lines.iter().zip(expected) {
        assert!(line.starts_with(start), "{line:?} does not begin with {start:?}");
        assert!(line.contains(words), "{line:?} lacks {words:?}");
        assert!(!line.contains(char::is_control), "a control character in {line:?}");
    }
}

const DROP_TCP: &str = "TC, egress and ingress: drop-tcp";

#[test]
fn labels_are_read_in_every_form() {
    for labels in [
        "{tc.policy: drop-tcp}",
        "{'tc.policy': \"drop-tcp\", other: [1], more: $X}",
        "[tc.policy=drop-tcp, other=$X, '']",
        "\n      - \"tc.policy=drop-tcp\"",
        "\n      tc.policy: >-\n        drop-tcp",
        "\n      tc.policy: |-\n        drop-tcp",
        "\n      ? tc.policy\n      : drop-tcp",
        "{tc.policy: !!str drop-tcp}",
        "{\"tc\\u002epolicy\": drop-tcp}",
    ] {
        means(&[&format!("services:\n  web:\n    labels: {labels}\n")], &[("web", DROP_TCP)]);
    }
    means(
        &["services:\n  a: {labels: {tc.egress: deny, tc.audit: True}}\n"],
        &[("a", "TC (audit), egress rules: { deny }")],
    );
    means(
        &["{\"services\": {\"b\": {\"labels\": {\"tc.policy\": \"drop-tcp\"}}}}"],
        &[("b", DROP_TCP)],
    );
    means(&["services:\n  a: {labels: }\n  b: {labels: {x: y}}\n  c:\n"], &[]);
}

#[test]
fn anchors_aliases_and_merge_keys_are_followed() {
    let text = "\
x-policy: &policy
  tc.policy: drop-tcp
x-more: &more {tc.policy: log, tc.direction: egress}
x-all: &all {<<: *policy}
x-service: &service
  image: nginx
  labels: *policy
services:
  a: {labels: *policy}
  b: {labels: {<<: *policy, tc.direction: ingress}}
  c: {labels: {tc.policy: pass, <<: [*policy, *more]}}
  d: {<<: *service}
  e: {labels: {<<: *all}}
  f: {<<: *service, labels: {tc.policy: log}}
";
    means(
        &[text],
        &[
            ("a", DROP_TCP),
            ("b", "TC, ingress: drop-tcp"),
            ("c", "TC, egress: pass"),
            ("d", DROP_TCP),
            ("e", DROP_TCP),
            ("f", "TC, egress and ingress: log"),
        ],
    );
    means(
        &["services: &s\n  a:\n    labels: &l\n      <<: *l\n      tc.policy: drop-tcp\n"],
        &[("a", DROP_TCP)],
    );
    let lists = (1..40).map(|n| format!("x{n}: &x{n} {{<<: [*x{0}, *x{0}, *x{0}]}}\n", n - 1));
    let text = format!(
        "x0: &x0 {{tc.policy: drop-tcp}}\n{}services: {{a: {{labels: *x39}}}}\n",
        lists.collect::<String>()
    );
    means(&[&text], &[("a", DROP_TCP)]);
}

#[test]
fn later_files_and_labels_of_the_service_count_more() {
    means(
        &[
            "services:\n  b: {labels: {tc.policy: log, xdp.policy: log}}\n  a: {image: x}\n",
            "services:\n  a: {labels: [tc.policy=drop-tcp]}\n  b: {labels: {tc.policy: pass}}\n",
        ],
        &[("b", "XDP (auto), egress: log; TC, egress and ingress: pass"), ("a", DROP_TCP)],
    );
    means(
        &[
            "services: {a: {labels: [tc.policy=log]}}\n---\nservices: {a: {labels: [tc.policy=drop-tcp]}}\n",
        ],
        &[("a", DROP_TCP)],
    );
    let built = "services:\n  a:\n    labels: {tc.policy: drop-tcp}\n    build: {labels: [tc.policy=log, tc.direction=egress]}\n";
    means(&[built], &[("a", "TC, egress: drop-tcp")]);
}

#[test]
fn what_is_wrong_is_told_where_it_stands() {
    let text = "\
services:
  web:
    labels:
      tc.egress: |
        allow dns
        allow tcp 5432 to conatiner:db
        allow tcp 0443
      tc.polcy: log
  db:
    labels:
      - \"tc.ingress=allow dns\\nallow tcp 80 form lan\"
      - tc.policy=log,drop-tpc
      - xdp.mode=native
";
    refuses(
        &[text],
        &[
            (
                "1.yaml:6:27: service web, tc.egress: found \"conatiner:db\"",
                "did you mean container:db?",
            ),
            ("1.yaml:7:19: service web, tc.egress: found \"0443\"", "leading zero"),
            ("1.yaml:8:7: service web, tc.polcy: unknown key", "did you mean tc.policy?"),
            ("1.yaml:11:45: service db, tc.ingress: found \"form\"", "from"),
            ("1.yaml:12:23: service db, tc.policy: found \"drop-tpc\"", "did you mean drop-tcp?"),
        ],
    );
    let shown = check(&sources(&[text]), &Policies::default()).unwrap_err();
    assert!(
        format!("{shown:#}").contains(
            "\n            allow tcp 5432 to conatiner:db\n                              ^\n"
        ),
        "{shown:#}"
    );
    refuses(
        &["services:\n  a: {labels: {xdp.mode: native, tc.audit: 'no'}}\n"],
        &[("1.yaml:2:45: service a, tc.audit: found \"no\"", "true, false")],
    );
    refuses(
        &["services:\n  a: {labels: {xdp.mode: native}}\n"],
        &[("1.yaml:2:16: service a, xdp.mode: has no effect without xdp.policy", "")],
    );
    refuses(
        &["services:\n  a:\n    labels:\n      tc.egress: >\n        allow dns\n        deny\n"],
        &[("1.yaml:5:9: service a, tc.egress: line 1, column 11 of the value: ", "write |")],
    );
    refuses(
        &[
            "services: {a: {labels: {tc.policy: log}}}\n",
            "services: {a: {labels: {tc.policy: x}}}\n",
        ],
        &[("2.yaml:1:36: service a, tc.policy: found \"x\"", "")],
    );
    let many: Vec<String> = (10..40).map(|number| format!("tc.x{number}: y")).collect();
    let text = format!("services: {{a: {{labels: {{{}}}}}}}", many.join(", "));
    let errors = check(&sources(&[&text]), &Policies::default()).unwrap_err();
    assert!(errors.to_string().contains("and 14 more"), "{errors}");
}

#[test]
fn what_is_no_compose_file_is_refused() {
    refuses(&["a: [\n"], &[("1.yaml:2:1: is not YAML: ", "")]);
    refuses(&["a: *b\n"], &[("1.yaml:1:4: is not YAML: ", "anchor")]);
    refuses(&[""], &[("1.yaml: has no services", "")]);
    refuses(&["x: 1\n"], &[("1.yaml: has no services", "")]);
    refuses(&["- a\n"], &[("1.yaml:1:1: the file: found a list, expected a mapping", "")]);
    refuses(&["services: [a]\n"], &[("1.yaml:1:11: services: found a list", "")]);
    refuses(
        &["services: {a: [x]}\n"],
        &[("1.yaml:1:15: service a, the service: found a list", "")],
    );
    refuses(
        &["services: {a: {labels: x}}\n"],
        &[("1.yaml:1:24: service a, labels: found a value", "")],
    );
    refuses(
        &["services: {a: {labels: {tc.policy: [log]}}}\n"],
        &[("1.yaml:1:36: service a, tc.policy: found a list, expected a value", "")],
    );
    refuses(
        &["services:\n  a: {labels: {tc.policy: log, tc.policy: pass}}\n  a: {}\n"],
        &[("1.yaml:2:32: tc.policy: stands twice", ""), ("1.yaml:3:3: a: stands twice", "")],
    );
    refuses(
        &["services: {a: {labels: [tc.policy=log, tc.policy=pass]}}\n"],
        &[("1.yaml:1:40: service a, tc.policy: stands twice in one list", "")],
    );
    refuses(
        &["services: {a: {labels: {<<: x}}}\n"],
        &[("1.yaml:1:29: service a, <<: found a value", "merged")],
    );
}

#[test]
fn what_only_compose_knows_is_a_problem() {
    for (labels, column, words) in [
        ("{tc.policy: \"${POLICY}\"}", 24, "docker compose config"),
        ("{tc.policy: $POLICY}", 24, "variable"),
        ("[\"tc.policy=${POLICY:-log}\"]", 13, "variable"),
        ("[\"${PREFIX}.policy=log\"]", 13, "variable"),
        ("{tc.policy: 0x10}", 24, "quotes"),
        ("{tc.policy: !reset null}", 24, "tag"),
        ("!override {tc.policy: log}", 12, "tag"),
    ] {
        let found = check(
            &sources(&[&format!("services:\n  a:\n    labels: {labels}\n")]),
            &Policies::default(),
        );
        let said = found.unwrap_err().to_string();
        assert!(said.starts_with("1.yaml:3:"), "{labels}: {said}");
        assert!(said.contains(words), "{labels}, {column}: {said}");
    }
    means(
        &["services: {a: {labels: {tc.policy: drop-tcp, x: $X}, image: $X}}\n"],
        &[("a", DROP_TCP)],
    );
    refuses(
        &["services: {a: {labels: {tc.policy: a$$b}}}\n"],
        &[("1.yaml:1:36: service a, tc.policy: line 1, column 1 of the value: found \"a$b\"", "")],
    );
    refuses(
        &["include: [x.yaml]\nservices:\n  a:\n    extends: {service: b}\n    label_file: x\n"],
        &[
            ("1.yaml:1:1: include: brings what is not in this file", "docker compose config"),
            ("1.yaml:4:5: service a, extends: brings", ""),
            ("1.yaml:5:5: service a, label_file: brings", ""),
        ],
    );
}

#[test]
fn labels_that_no_container_has_are_a_problem() {
    let text = "\
services:
  a:
    deploy:
      labels:
        tc.policy: log
        other: x
networks:
  n: {labels: [tc.policy=log]}
volumes:
  v: {labels: {xdp.policy: log}}
  w:
";
    refuses(
        &[text],
        &[
            ("1.yaml:5:9: service a, tc.policy: has no effect: labels of deploy", ""),
            ("1.yaml:8:16: tc.policy: has no effect: labels of networks", ""),
            ("1.yaml:10:16: xdp.policy: has no effect: labels of volumes", ""),
        ],
    );
}

#[test]
fn names_that_nobody_of_the_files_has_are_hints() {
    let text = "\
name: shop
services:
  web:
    container_name: front
    labels:
      tc.egress: |
        allow to container:front, service:db
        allow to container:db, container:shop-db-1
        deny to container:frnt; deny to service:dbb
        allow to network:back,network:real,network:default,network:bridge,network:backk
        allow to network:named, container:other-db-1
  db: {networks: [back]}
networks: {back: , named: {name: real}}
";
    hints(
        text,
        &[
            (
                "1.yaml:8:9: service web, tc.egress: no container is called db: that of service db is called shop-db-1",
                "service:db",
            ),
            (
                "1.yaml:9:9: service web, tc.egress: no container of these files is called frnt, did you mean container:front?",
                "denies nobody",
            ),
            (
                "1.yaml:9:9: service web, tc.egress: these files have no service dbb; until",
                "denies nobody",
            ),
            (
                "1.yaml:10:9: service web, tc.egress: these files have no network backk, did you mean network:back?",
                "allows nobody",
            ),
            (
                "1.yaml:11:9: service web, tc.egress: Docker has no network named: that of these files is called real",
                "",
            ),
            (
                "1.yaml:11:9: service web, tc.egress: no container of these files is called other-db-1",
                "",
            ),
        ],
    );
    hints(
        "services:\n  web: {labels: {tc.egress: deny 22; allow}}\n",
        &[("1.yaml:2:29: service web, tc.egress: deny 22 is about protocol 22", "deny tcp 22")],
    );
    hints(
        "services:\n  web:\n    labels:\n      tc.ingress: \"allow\\ndeny tcp 22\"\n",
        &[("1.yaml:4:27: service web, tc.ingress: deny tcp 22 never decides", "line 1")],
    );
}

#[test]
fn services_that_policy_does_not_reach_are_hints() {
    let with =
        |text: &str| format!("services:\n  a:\n    labels: {{tc.policy: log}}\n    {text}\n");
    for (text, words) in [
        ("network_mode: host", "cannot be enforced"),
        ("network_mode: 'none'", "nothing to do"),
        ("network_mode: service:b", "another container's network"),
        ("network_mode: container:b", "another container's network"),
    ] {
        hints(&with(text), &[("1.yaml:4:19: service a: ", words)]);
    }
    for text in ["network_mode: bridge", "networks: [b]"] {
        hints(&with(text), &[]);
    }
    let text = with("networks: {lan: {}}") + "networks: {lan: {driver: macvlan}}\n";
    hints(&text, &[("1.yaml:4:16: service a: network lan has driver macvlan", "")]);
    hints("services: {a: {network_mode: host}}\n", &[]);
}

#[test]
fn rules_that_never_fit_are_a_problem() {
    let ports: Vec<String> = (1..=70).map(|port| (port * 2).to_string()).collect();
    let hosts: Vec<String> = (1..=4).map(|host| format!("10.0.0.{}", host * 2)).collect();
    let rule = format!("        allow tcp {} to {}\n", ports.join(","), hosts.join(","));
    let text = format!("services:\n  a:\n    labels:\n      tc.egress: |\n{}", rule.repeat(4));
    refuses(
        &[&text],
        &[("1.yaml:5:9: service a, tc.egress: the rules become 1120 entries", "1024")],
    );
}

#[test]
fn the_sample_of_the_repository_is_understood() {
    let text = include_str!("../../../compose/policy.yaml");
    let Checked { services, hints } = checked(&[text]);
    let names: Vec<_> = services.iter().map(|it| it.service.as_str()).collect();
    assert_eq!(names, ["web", "db"]);
    assert_eq!(hints, [], "it is a good example");
}
