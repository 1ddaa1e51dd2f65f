use serde_json::{Value, json};

use super::super::testing::{call, row};
use super::*;

/// What a tool `t` with these parameters has against a call.
fn check(parameters: Value, arguments: Value) -> Option<String> {
    let function = json!({"name": "t", "parameters": parameters});
    violation(function.as_object().unwrap(), &call("c", "t", arguments).tool_calls[0])
}

#[test]
fn a_call_is_held_against_its_schema() {
    let mut example = row("s", vec![]);
    example.trace.tools = vec![json!({"type": "function", "function": {
        "name": "read",
        "parameters": {
            "type": "object",
            "properties": {
                "path": {"type": "string"},
                "limit": {"type": ["integer", "null"]},
                "mode": {"enum": ["text", "bytes"]},
            },
            "required": ["path"],
            "additionalProperties": false,
        },
    }})];
    assert_eq!(names(&example), ["read"]);
    let read = declared(&example, "read").unwrap();
    let check = |arguments| {
        let message = call("c", "read", arguments);
        violation(read, &message.tool_calls[0])
    };
    assert_eq!(check(json!({"path": "a", "limit": 3.0, "mode": "text"})), None);
    assert_eq!(check(json!({"path": "a", "limit": null})), None);
    for (arguments, problem) in [
        (json!({"limit": 3}), "`read` lacks the required argument `path`"),
        (json!({"path": 3}), "argument `path` of `read` is not \"string\""),
        (json!({"path": "a", "file": "b"}), "`read` takes no argument `file`"),
        (json!({"path": "a", "mode": "x"}), "argument `mode` of `read` is none of its enum"),
    ] {
        assert_eq!(check(arguments).as_deref(), Some(problem));
    }
}

/// As OpenCode and pi declare their tools: closed objects in a list in an object.
fn edit() -> Value {
    json!({
        "type": "object",
        "properties": {"edits": {"type": "array", "minItems": 1, "maxItems": 3, "items": {
            "type": "object",
            "properties": {
                "oldText": {"type": "string", "minLength": 1},
                "newText": {"type": "string"},
                "mode": {"type": "string", "enum": ["first", "all"]},
                "range": {"$ref": "#/definitions/range"},
            },
            "required": ["oldText", "newText"],
            "additionalProperties": false,
        }}},
        "required": ["edits"],
        "definitions": {"range": {
            "type": "object",
            "properties": {"from": {"type": "integer", "minimum": 1}},
            "required": ["from"],
        }},
    })
}

#[test]
fn objects_in_lists_are_held_against_their_schema() {
    let good = json!({"oldText": "a", "newText": "", "mode": "all", "range": {"from": 1}});
    assert_eq!(check(edit(), json!({"edits": [good, good]})), None);
    let faults = [
        (json!({"oldText": "a"}), "`t` lacks the required argument `edits[1].newText`"),
        (
            json!({"oldText": 1, "newText": ""}),
            "argument `edits[1].oldText` of `t` is not \"string\"",
        ),
        (
            json!({"oldText": "", "newText": ""}),
            "argument `edits[1].oldText` of `t` has too few characters",
        ),
        (
            json!({"oldText": "a", "newText": "", "all": true}),
            "`t` takes no argument `edits[1].all`",
        ),
        (
            json!({"oldText": "a", "newText": "", "mode": "last"}),
            "argument `edits[1].mode` of `t` is none of its enum",
        ),
        (
            json!({"oldText": "a", "newText": "", "range": {}}),
            "`t` lacks the required argument `edits[1].range.from`",
        ),
        (
            json!({"oldText": "a", "newText": "", "range": {"from": 0}}),
            "argument `edits[1].range.from` of `t` is too small",
        ),
        (json!("a"), "argument `edits[1]` of `t` is not \"object\""),
    ];
    for (bad, problem) in faults {
        assert_eq!(check(edit(), json!({"edits": [good, bad]})).as_deref(), Some(problem));
    }
    let too_many = "argument `edits` of `t` has too many items";
    assert_eq!(
        check(edit(), json!({"edits": [good, good, good, good]})).as_deref(),
        Some(too_many)
    );
}

#[test]
fn each_keyword_takes_what_fits_and_refuses_what_does_not() {
    let text = json!({"type": "string"});
    let whole = json!({"type": "integer"});
    for (schema, good, bad) in [
        (json!({"anyOf": [text, {"type": "null"}]}), json!(null), json!(3)),
        (json!({"oneOf": [text, whole, {"minimum": 5}]}), json!(3), json!(7)),
        (json!({"allOf": [whole, {"maximum": 5}]}), json!(3), json!(7)),
        (json!({"not": text}), json!(3), json!("a")),
        (json!({"const": {"a": 1, "b": 2}}), json!({"b": 2.0, "a": 1}), json!({"a": 1})),
        (json!({"enum": [1, "a"]}), json!(1.0), json!("b")),
        (json!({"type": ["string", "null"]}), json!(null), json!(true)),
        (json!({"pattern": "^[a-z]+$"}), json!("abc"), json!("Abc")),
        (json!({"maxLength": 2}), json!("éé"), json!("abc")),
        (json!({"exclusiveMinimum": 0}), json!(0.5), json!(0)),
        (json!({"maximum": 2, "exclusiveMaximum": true}), json!(1), json!(2)),
        (json!({"multipleOf": 0.1}), json!(0.3), json!(0.35)),
        (json!({"prefixItems": [text], "items": whole}), json!(["a", 1]), json!(["a", "b"])),
        (json!({"items": [text], "additionalItems": false}), json!(["a"]), json!(["a", 1])),
        (json!({"uniqueItems": true}), json!([1, 2]), json!([1, 1])),
        (json!({"contains": text}), json!([1, "a"]), json!([1])),
        (json!({"additionalProperties": whole}), json!({"a": 1}), json!({"a": "1"})),
        (
            json!({"patternProperties": {"^x-": text}, "additionalProperties": false}),
            json!({"x-a": "b"}),
            json!({"x-a": 1}),
        ),
        (json!({"propertyNames": {"maxLength": 1}}), json!({"a": 1}), json!({"ab": 1})),
        (json!({"minProperties": 1}), json!({"a": 1}), json!({})),
        (json!({"if": text, "then": {"minLength": 1}, "else": {"minimum": 1}}), json!(1), json!(0)),
    ] {
        let parameters = json!({"properties": {"x": schema}});
        assert_eq!(check(parameters.clone(), json!({"x": good})), None, "{schema}");
        assert!(check(parameters, json!({"x": bad})).is_some(), "{schema}");
    }
}

#[test]
fn the_arguments_as_a_whole_are_held_against_keywords_too() {
    let either = json!({"anyOf": [{"required": ["path"]}, {"required": ["url"]}]});
    assert_eq!(check(either.clone(), json!({"url": "a"})), None);
    let problem = "the argument object of `t` fits nothing of its anyOf";
    assert_eq!(check(either, json!({})).as_deref(), Some(problem));
}

#[test]
fn a_schema_may_refer_to_itself() {
    let tree = json!({
        "$ref": "#/$defs/node",
        "$defs": {"node": {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
            },
        }},
    });
    let good = json!({"name": "a", "children": [{"name": "b", "children": [{"name": "c"}]}]});
    assert_eq!(check(tree.clone(), good), None);
    let bad = json!({"name": "a", "children": [{"name": "b", "children": [{"name": 1}]}]});
    let problem = "argument `children[0].children[0].name` of `t` is not \"string\"";
    assert_eq!(check(tree, bad).as_deref(), Some(problem));
}

#[test]
fn a_reference_that_only_leads_to_itself_decides_nothing() {
    for schema in [
        json!({"$ref": "#"}),
        json!({"not": {"$ref": "#"}}),
        json!({"oneOf": [{"$ref": "#"}, {"$ref": "#"}]}),
        json!({"anyOf": [{"$ref": "#"}, {"$ref": "#"}], "allOf": [{"$ref": "#"}, {"$ref": "#"}]}),
        json!({"$ref": "#/$defs/a", "$defs": {
            "a": {"$ref": "#/$defs/b"},
            "b": {"allOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/a"}]},
        }}),
    ] {
        assert_eq!(check(schema.clone(), json!({"x": 1})), None, "{schema}");
    }
}

#[test]
fn references_that_branch_end() {
    let mut defs = json!({});
    for n in 0..40 {
        let next = json!({"$ref": format!("#/$defs/d{}", n + 1)});
        defs[format!("d{n}")] = json!({"allOf": [next, next]});
    }
    defs["d40"] = json!({});
    assert_eq!(check(json!({"$ref": "#/$defs/d0", "$defs": defs}), json!({"x": 1})), None);
}

#[test]
fn what_a_schema_says_wrongly_is_not_the_calls_fault() {
    for schema in [
        json!(5),
        json!("string"),
        json!({"type": 5}),
        json!({"type": "str"}),
        json!({"type": ["int", "str"]}),
        json!({"enum": "a"}),
        json!({"anyOf": []}),
        json!({"anyOf": {"type": "string"}}),
        json!({"not": 5}),
        json!({"required": "a"}),
        json!({"properties": ["a"]}),
        json!({"minimum": "5"}),
        json!({"multipleOf": 0}),
        json!({"pattern": "("}),
        json!({"pattern": "^(?!a)"}),
        json!({"pattern": "((a{1,999}){1,999}){1,999}"}),
        json!({"$ref": "#/$defs/nowhere"}),
        json!({"$ref": "https://example.com/schema.json"}),
        json!({"oneOf": [{"$ref": "a.json"}, {"$ref": "b.json"}]}),
        json!({"oneOf": [{"type": "int"}, {"type": "str"}]}),
        json!({"not": {"$ref": "#/$defs/nowhere"}}),
        json!({"if": {"type": "int"}, "else": false}),
        json!({"unheard-of": true}),
    ] {
        let parameters = json!({"properties": {"x": schema}});
        for value in [json!(1), json!("a"), json!([1]), json!({"a": 1}), json!(null)] {
            assert_eq!(check(parameters.clone(), json!({"x": value})), None, "{schema} {value}");
        }
        assert_eq!(check(schema, json!({"x": 1})), None);
    }
}

#[test]
fn no_value_and_no_key_of_a_map_is_told() {
    let map = json!({"properties": {"env": {"additionalProperties": {"type": "string"}}}});
    let problem = "argument `env.*` of `t` is not \"string\"";
    assert_eq!(check(map, json!({"env": {"hunter": 2}})).as_deref(), Some(problem));
}
