//! CEL expressions of policies: compiled, their names checked against the facts of their subject, and evaluated.
//!
//! The one place that knows the CEL library. An expression asks about one subject by its name: `file.is_secret`. Names
//! that no fact has, and functions that CEL does not have, are refused when the policy is read, before any file is.
//!
//! Source: CEL language definition (cel-spec, doc/langdef.md); the crate `cel` 0.15 without regular expressions and dates.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use cel::common::ast::{EntryExpr, Expr, IdedExpr};
use cel::objects::Key;
use cel::{Context, Env, Program, Value};

use crate::policy::facts::{Fact, Record, Subject};

/// The functions that an expression may call; operators aside.
const FUNCTIONS: [&str; 5] = ["size", "contains", "startsWith", "endsWith", "string"];

/// A compiled expression about one subject.
#[derive(Debug)]
pub struct Expression {
    program: Program,
    /// The facts that it asks for, as positions in the subject's list.
    asked: BTreeSet<usize>,
}

/// Why a text is no expression about a subject.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpressionError {
    /// Not CEL.
    #[error("the expression is not CEL: {0}")]
    Syntax(String),
    /// A name that means nothing here.
    #[error("the expression names {name}; it may only ask about {subject}")]
    Name {
        /// The name.
        name: String,
        /// The policy's subject.
        subject: &'static str,
    },
    /// A fact that the subject does not have.
    #[error("{subject} has no fact {name}")]
    Fact {
        /// The name.
        name: String,
        /// The policy's subject.
        subject: &'static str,
    },
    /// The subject itself is used as a value.
    #[error("the expression uses {0} as a value; name one of its facts")]
    Whole(&'static str),
    /// No such function.
    #[error(
        "there is no function {0}; there are contains, endsWith, size, startsWith, string and CEL's macros"
    )]
    Function(String),
}

impl Expression {
    /// Compiles `text`, which may name the facts of `subject` only.
    ///
    /// # Errors
    /// See [`ExpressionError`].
    pub fn compile(text: &str, subject: Subject) -> Result<Self, ExpressionError> {
        let program = Program::compile(text).map_err(|errors| {
            let first = errors.to_string();
            let line = first.lines().next().unwrap_or_default();
            ExpressionError::Syntax(line.trim().to_owned())
        })?;
        let mut names = Names {
            subject,
            bound: Vec::new(),
            asked: BTreeSet::new(),
        };
        names.check(program.expression())?;
        let asked = names.asked;
        Ok(Self { program, asked })
    }

    /// The facts that it asks for, as positions in its subject's list.
    pub fn asked(&self) -> &BTreeSet<usize> {
        &self.asked
    }

    /// Whether the expression is true of what it is asked about.
    ///
    /// # Errors
    /// What CEL says: types that do not go together, an index out of bounds, a result that is neither true nor false.
    pub fn holds(&self, of: &Asked) -> Result<bool, String> {
        match self.program.execute(&of.0) {
            Ok(Value::Bool(holds)) => Ok(holds),
            Ok(other) => Err(format!("it gives {}, not true or false", other.type_of())),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// The facts of one record, as CEL takes them; for all expressions about it.
pub struct Asked(Context<'static, 'static>);

/// What CEL itself brings; made once.
pub struct Evaluator(Arc<Env>);

impl Evaluator {
    /// The standard functions and macros.
    pub fn new() -> Self {
        Self(Arc::new(Env::stdlib()))
    }

    /// The facts of `record` at these positions.
    pub fn asked(&self, record: &Record, positions: &BTreeSet<usize>) -> Asked {
        let fields = record.subject.fields();
        let facts = positions.iter().filter_map(|at| {
            let field = fields.get(*at)?;
            Some((Key::from(field.name), value(record.facts.get(*at)?)))
        });
        let facts: HashMap<Key, Value> = facts.collect();
        let mut context = Context::with_env(Arc::clone(&self.0));
        context.add_variable_from_value(record.subject.name(), Value::from(facts));
        Asked(context)
    }
}

impl Default for Evaluator {
    fn default() -> Self {
        Self::new()
    }
}

fn value(fact: &Fact) -> Value {
    match fact {
        Fact::Text(text) => Value::from(text.as_str()),
        Fact::Number(number) => Value::Int(*number),
        Fact::Truth(truth) => Value::Bool(*truth),
        Fact::Texts(texts) => Value::List(Arc::new(
            texts.iter().map(|t| Value::from(t.as_str())).collect(),
        )),
    }
}

/// Whether a function is an operator; those have names that no identifier has: `_&&_`, `@in`.
fn is_operator(name: &str) -> bool {
    name.contains(|c: char| !c.is_ascii_alphanumeric() && c != '_')
}

/// The names of an expression, as they are walked through.
struct Names<'a> {
    subject: Subject,
    /// What macros bind on the way down.
    bound: Vec<&'a str>,
    asked: BTreeSet<usize>,
}

impl<'a> Names<'a> {
    fn check(&mut self, node: &'a IdedExpr) -> Result<(), ExpressionError> {
        match &node.expr {
            Expr::Unspecified | Expr::Literal(_) => Ok(()),
            Expr::Ident(name) => self.name(name),
            Expr::Select(select) => self.select(&select.operand, &select.field),
            Expr::Call(call) => {
                if !is_operator(&call.func_name) && !FUNCTIONS.contains(&call.func_name.as_str()) {
                    return Err(ExpressionError::Function(call.func_name.clone()));
                }
                call.target
                    .iter()
                    .try_for_each(|target| self.check(target))?;
                call.args.iter().try_for_each(|arg| self.check(arg))
            }
            Expr::List(list) => list.elements.iter().try_for_each(|e| self.check(e)),
            Expr::Map(map) => map.entries.iter().try_for_each(|e| self.entry(&e.expr)),
            Expr::Struct(made) => Err(ExpressionError::Function(made.type_name.clone())),
            Expr::Comprehension(loop_) => {
                self.check(&loop_.iter_range)?;
                self.check(&loop_.accu_init)?;
                let before = self.bound.len();
                self.bound.push(&loop_.iter_var);
                self.bound.extend(loop_.iter_var2.as_deref());
                self.bound.push(&loop_.accu_var);
                self.check(&loop_.loop_cond)?;
                self.check(&loop_.loop_step)?;
                self.check(&loop_.result)?;
                self.bound.truncate(before);
                Ok(())
            }
        }
    }

    fn entry(&mut self, entry: &'a EntryExpr) -> Result<(), ExpressionError> {
        match entry {
            EntryExpr::StructField(field) => self.check(&field.value),
            EntryExpr::MapEntry(entry) => {
                self.check(&entry.key)?;
                self.check(&entry.value)
            }
        }
    }

    fn name(&self, name: &str) -> Result<(), ExpressionError> {
        let subject = self.subject.name();
        if self.bound.contains(&name) {
            Ok(())
        } else if name == subject {
            Err(ExpressionError::Whole(subject))
        } else {
            Err(ExpressionError::Name {
                name: name.to_owned(),
                subject,
            })
        }
    }

    fn select(&mut self, operand: &'a IdedExpr, field: &str) -> Result<(), ExpressionError> {
        let subject = self.subject.name();
        match &operand.expr {
            Expr::Ident(name) if name == subject && !self.bound.contains(&subject) => {
                let fields = self.subject.fields();
                let at = fields.iter().position(|known| known.name == field);
                let at = at.ok_or_else(|| ExpressionError::Fact {
                    name: field.to_owned(),
                    subject,
                })?;
                self.asked.insert(at);
                Ok(())
            }
            // Facts are texts, numbers, truths and lists of texts: none has a part with a name.
            _ => {
                self.check(operand)?;
                Err(ExpressionError::Name {
                    name: format!(".{field}"),
                    subject,
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::facts::RuleFacts;

    fn record() -> Record {
        let facts = RuleFacts {
            path_regex: "a.*".to_owned(),
            matched: 3,
            plain_files: vec!["x".to_owned(), "y".to_owned()],
            is_anchored: false,
            ..RuleFacts::default()
        };
        facts.record(None, None)
    }

    fn holds(text: &str) -> Result<bool, String> {
        let expression = Expression::compile(text, Subject::Rule).unwrap();
        let of = Evaluator::new().asked(&record(), expression.asked());
        expression.holds(&of)
    }

    #[test]
    fn expressions_ask_about_facts() {
        assert_eq!(holds("rule.matched > 2 && !rule.is_anchored"), Ok(true));
        assert_eq!(holds("size(rule.plain_files) == 2"), Ok(true));
        assert_eq!(holds("rule.plain_files.exists(f, f == 'y')"), Ok(true));
        assert_eq!(holds("'z' in rule.plain_files"), Ok(false));
        assert_eq!(
            holds("rule.path_regex.startsWith('a') ? true : false"),
            Ok(true)
        );
    }

    #[test]
    fn names_are_checked_before_anything_is_evaluated() {
        let error = |text: &str| Expression::compile(text, Subject::Rule).unwrap_err();
        let fact = |name: &str| ExpressionError::Fact {
            name: name.to_owned(),
            subject: "rule",
        };
        assert_eq!(error("rule.matchd > 2"), fact("matchd"));
        // Also where evaluation would not come to it.
        assert_eq!(error("true || rule.nothing"), fact("nothing"));
        assert_eq!(error("[1].all(x, rule.no == x)"), fact("no"));
        assert_eq!(error("has(rule.absent)"), fact("absent"));
        assert_eq!(error("rule == rule"), ExpressionError::Whole("rule"));
        assert_eq!(
            error("rule['matched'] == 1"),
            ExpressionError::Whole("rule")
        );
        for text in [
            "file.path == ''",
            "x",
            "[1].all(x, y == x)",
            "rule.path_regex.size",
        ] {
            assert!(
                matches!(error(text), ExpressionError::Name { .. }),
                "{text}"
            );
        }
        for text in ["launch('x')", "rule.path_regex.matches('a')", "a.b{c: 1}"] {
            assert!(
                matches!(error(text), ExpressionError::Function(_)),
                "{text}"
            );
        }
        for text in [
            "",
            "rule.matched >",
            "'unclosed",
            "rule.matched = 2",
            "(",
            "\u{0}",
        ] {
            assert!(
                matches!(error(text), ExpressionError::Syntax(_)),
                "{text:?}"
            );
        }
    }

    #[test]
    fn what_cannot_be_evaluated_is_an_error_and_no_answer() {
        for text in [
            "rule.matched == 1 || rule.path_regex > 2",
            "rule.matched / 0 == 1",
            "rule.plain_files[7] == ''",
            "rule.matched",
        ] {
            assert!(holds(text).is_err(), "{text}");
        }
    }
}
