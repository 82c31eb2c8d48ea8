//! [`NamedObjects`]: shared objects by name, for arguments in JSON. Where a task takes a handle, a string names a
//! declared object; nothing else in an input can make or reach one.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use wpool_abi::object::{Call, Item, Kind, MAX_HANDLES, Number, ObjectError, Reply, Rights, Wait};
use wpool_abi::{HandleType, Type, TypeIndex};
use wpool_objects::Handle as _;

use super::handle::Handle;
use super::manager::Manager;
use super::spec::{NamedError, ObjectSpec, pipe_end};
use crate::guest::json::{self, JsonError};
use crate::guest::{Signature, Types, same_type};
use crate::lock::{Mutex, MutexGuard};
use crate::manager::{ObjectInit, Stored};
use crate::pool::raw_task::RawArguments;

/// Shared objects that arguments in JSON can name. [`declare`](Self::declare) adds one, [`attach`](Self::attach) makes
/// them in a pool. Clones share the same objects.
///
/// ```no_run
/// use wpool::{NamedObjects, ObjectSpec};
/// # let pool = wpool::Pool::builder(wpool::Guest::from_file("guest.wasm")?).build()?;
/// let objects = NamedObjects::default();
/// objects.declare("squares", ObjectSpec::Queue(Some(100)))?;
/// objects.attach(&pool.manager());
/// let task = pool.raw_task("square_into")?;
/// let arguments = objects.arguments(task.signature(), br#"[3, "squares"]"#)?;
/// task.submit(arguments)?.completed();
/// assert_eq!(objects.to_json("squares")?, "[9]");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct NamedObjects {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    /// The arguments that are read name an object that is not declared.
    unknown_name: bool,
    manager: Option<Manager>,
    objects: BTreeMap<String, Named>,
}

#[derive(Debug)]
struct Named {
    spec: ObjectSpec,
    /// One when the object is made, two of a pipe.
    handles: Vec<Handle>,
    /// The type of the content, from the first parameter that the object was passed to.
    content: Option<ContentType>,
}

#[derive(Debug, Clone)]
struct ContentType {
    types: Arc<Types>,
    items: Vec<TypeIndex>,
    /// The type of the whole content, as JSON shows it.
    whole: TypeIndex,
}

impl NamedObjects {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }

    /// Declares an object.
    ///
    /// # Errors
    /// [`NamedError::Twice`] if an object of that name is declared already.
    pub fn declare(&self, name: &str, spec: ObjectSpec) -> Result<(), NamedError> {
        let mut inner = self.lock();
        if inner.objects.iter().any(|(other, named)| spec.clashes(name, other, &named.spec)) {
            return Err(NamedError::Twice(name.to_owned()));
        }
        let handles = inner.manager.as_ref().map_or_else(Vec::new, |manager| make(manager, &spec));
        inner.objects.insert(name.to_owned(), Named { spec, handles, content: None });
        Ok(())
    }

    /// Makes the declared objects in the manager's pool. Attaching another pool makes them again, with their initial
    /// content.
    pub fn attach(&self, manager: &Manager) {
        let mut inner = self.lock();
        for named in inner.objects.values_mut() {
            named.handles = make(manager, &named.spec);
        }
        inner.manager = Some(manager.clone());
    }

    /// Checks the arguments of one call. No pool needs to be attached.
    ///
    /// # Errors
    /// As [`Signature::arguments_from_json`], and if a name is not declared, or names an object of another type.
    pub fn check(&self, signature: &Signature, text: &[u8]) -> Result<(), JsonError> {
        let inner = RefCell::new(self.lock());
        signature
            .append_arguments(text, &mut Vec::new(), &|name, handle| {
                inner.borrow_mut().named(name, handle, signature.types()).map(|_| 0)
            })
            .map_err(|error| inner.borrow_mut().with_unknown_name(error))
    }

    /// Encodes the arguments of one call.
    ///
    /// # Errors
    /// As [`check`](Self::check), and if no pool is attached, or an object cannot be made, for example for lack of
    /// memory.
    pub fn arguments(&self, signature: &Signature, text: &[u8]) -> Result<RawArguments, JsonError> {
        let (inner, handles) = (RefCell::new(self.lock()), RefCell::new(Vec::new()));
        let mut bytes = Vec::new();
        signature
            .append_arguments(text, &mut bytes, &|name, wanted| {
                let handle = inner.borrow_mut().handle(name, wanted, signature.types())?;
                let mut handles = handles.borrow_mut();
                if handles.len() >= MAX_HANDLES {
                    return Err(format!("a task can have {MAX_HANDLES} handles"));
                }
                handles.push(handle.narrowed(wanted.rights));
                u32::try_from(handles.len() - 1).map_err(|error| error.to_string())
            })
            .map_err(|error| inner.borrow_mut().with_unknown_name(error))?;
        Ok(RawArguments::new(bytes, handles.into_inner()))
    }

    /// Returns the content of an object in JSON: an array, an object or a value. The values of a queue are taken out of
    /// it.
    ///
    /// # Errors
    /// If no object of that name is declared, the object's kind has no content, the pool is gone, or a value is not of
    /// the object's type or holds handles.
    pub fn to_json(&self, name: &str) -> Result<String, NamedError> {
        self.check_holds(name)?;
        let (handle, content) = self.look_up(name)?;
        let (Some(handle), Some(content)) = (handle, content) else { return self.initial_json(name) };
        let object = |error| NamedError::Object { name: name.to_owned(), error };
        let bytes = read_content(&handle, &content).map_err(object)?;
        let mut out = Vec::new();
        json::value_to_json(&content.types, content.whole, &bytes, &mut out)
            .map_err(|error| NamedError::Value { name: name.to_owned(), error })?;
        Ok(String::from_utf8_lossy(&out).into_owned())
    }

    /// Waits for values in a queue, takes them out, and appends each to `out` as a line of JSON. A value that is not of
    /// the queue's type becomes the line `{"$error": …}`. Returns false if the queue is closed and empty, its pool is
    /// gone, or no pool is attached.
    ///
    /// # Errors
    /// If no queue of that name is declared, or the queue fails.
    pub fn drain(&self, name: &str, out: &mut Vec<u8>) -> Result<bool, NamedError> {
        /// The maximum number of values that are taken at a time.
        const BATCH: u32 = 1000;
        self.check_queue(name)?;
        let (Some(handle), _) = self.look_up(name)? else { return Ok(false) };
        let items = match handle.call(Call::Get(BATCH), Wait::Forever) {
            Ok(Reply::Items(items, _)) => items,
            Ok(_) => Vec::new(),
            Err(ObjectError::Closed | ObjectError::PoolClosed) => return Ok(false),
            Err(error) => return Err(NamedError::Object { name: name.to_owned(), error }),
        };
        // A task that has put a value got the queue as an argument, and that has set the type.
        let (_, Some(ContentType { types, items: held, .. })) = self.look_up(name)? else { return Ok(true) };
        for item in items {
            let start = out.len();
            if let Err(error) = json::value_to_json(&types, held[0], &item.bytes, out) {
                out.truncate(start);
                let error = serde_json::json!({ "$error": error.to_string() });
                out.extend_from_slice(error.to_string().as_bytes());
            }
            out.push(b'\n');
        }
        Ok(true)
    }

    /// Closes a queue: it takes no more values, and [`drain`](Self::drain) returns false when it is empty.
    ///
    /// # Errors
    /// If no object of that name is declared, or it cannot be closed.
    pub fn close(&self, name: &str) -> Result<(), NamedError> {
        let (Some(handle), _) = self.look_up(name)? else { return Ok(()) };
        match handle.post(Call::Close) {
            Ok(()) | Err(ObjectError::PoolClosed) => Ok(()),
            Err(error) => Err(NamedError::Object { name: name.to_owned(), error }),
        }
    }

    /// Checks that an object can be [drained](Self::drain).
    ///
    /// # Errors
    /// If no object of that name is declared, or it is not a queue.
    pub fn check_queue(&self, name: &str) -> Result<(), NamedError> {
        match self.spec(name)? {
            ObjectSpec::Queue(_) => Ok(()),
            spec => Err(NamedError::NoQueue { name: name.to_owned(), kind: spec.kind().name() }),
        }
    }

    /// Checks that [`to_json`](Self::to_json) can show an object.
    ///
    /// # Errors
    /// If no object of that name is declared, or its kind has no content.
    pub fn check_holds(&self, name: &str) -> Result<(), NamedError> {
        match self.spec(name)? {
            ObjectSpec::Queue(_)
            | ObjectSpec::Dict
            | ObjectSpec::List
            | ObjectSpec::Value(_)
            | ObjectSpec::Array(_)
            | ObjectSpec::SharedArray(_) => Ok(()),
            spec => Err(NamedError::NoValues { name: name.to_owned(), kind: spec.kind().name() }),
        }
    }

    fn spec(&self, name: &str) -> Result<ObjectSpec, NamedError> {
        let inner = self.lock();
        let named = inner.objects.get(name).ok_or_else(|| NamedError::Unknown(name.to_owned()))?;
        Ok(named.spec.clone())
    }

    fn look_up(&self, name: &str) -> Result<(Option<Handle>, Option<ContentType>), NamedError> {
        let inner = self.lock();
        let named = inner.objects.get(name).ok_or_else(|| NamedError::Unknown(name.to_owned()))?;
        Ok((named.handles.first().cloned(), named.content.clone()))
    }

    /// The content of an object that no task has got yet.
    fn initial_json(&self, name: &str) -> Result<String, NamedError> {
        Ok(match self.spec(name)? {
            ObjectSpec::Dict => "{}".to_owned(),
            ObjectSpec::Value(text) | ObjectSpec::Array(text) => text,
            ObjectSpec::SharedArray(len) => format!("[{}]", vec!["0"; len].join(",")),
            _ => "[]".to_owned(),
        })
    }
}

impl Inner {
    /// Adds to an error of arguments whether they name an object that is not declared.
    fn with_unknown_name(&mut self, error: JsonError) -> JsonError {
        JsonError { unknown_object: std::mem::take(&mut self.unknown_name), ..error }
    }

    /// Finds an object by its name. An error if there is none, or its type is not the wanted one.
    fn named(&mut self, name: &str, wanted: &HandleType, types: &Types) -> Result<&mut Named, String> {
        let shown = || types.name(&Type::Handle(wanted.clone()));
        let is_pipe = |named: &Named| matches!(named.spec, ObjectSpec::Pipe(_));
        if wanted.kind == Kind::Pipe && self.objects.get(name).is_some_and(is_pipe) {
            return Err(format!("`{name}` is a whole pipe: name one of its ends, `{name}.a` or `{name}.b`"));
        }
        let Some(named) = self.objects.get_mut(base_name(name, wanted)) else {
            self.unknown_name = true;
            return Err(format!("no {} is named `{name}`", shown()));
        };
        if named.spec.kind() != wanted.kind {
            return Err(format!("expected {}, got `{name}`, a {}", shown(), named.spec.kind().name()));
        }
        if let ObjectSpec::Broadcast(_) = named.spec {
            let bytes = wanted.items.first().map(|item| types.get(*item)) == Some(&Type::U8);
            if !bytes || wanted.rights != Rights::READ {
                return Err(format!("expected {}, got `{name}`, bytes to be read only", shown()));
            }
        }
        let Some(content) = &named.content else {
            if let (ObjectSpec::Value(text), Some(item)) = (&named.spec, wanted.items.first()) {
                json::value_from_json(types, *item, text.as_bytes(), &mut Vec::new())
                    .map_err(|error| format!("the first value of `{name}`: {error}"))?;
            }
            if let (ObjectSpec::Array(text), Some(item)) = (&named.spec, wanted.items.first()) {
                array_values(types, *item, text)
                    .map_err(|error| format!("the first values of `{name}`: {error}"))?;
            }
            named.content = Some(ContentType::new(wanted, types));
            return Ok(named);
        };
        let same = content.items.len() == wanted.items.len()
            && content.items.iter().zip(&wanted.items).all(|(a, b)| same_type(&content.types, *a, types, *b));
        if same { Ok(named) } else { Err(format!("expected {}, but `{name}` holds other values", shown())) }
    }

    /// The handle of an object, which is made if it was not yet.
    fn handle(&mut self, name: &str, wanted: &HandleType, types: &Types) -> Result<Handle, String> {
        let manager = self.manager.clone().ok_or("no pool is attached")?;
        let named = self.named(name, wanted, types)?;
        let end = pipe_end(name).filter(|_| wanted.kind == Kind::Pipe).map_or(0, |(_, end)| end);
        if let Some(handle) = named.handles.get(end) {
            return Ok(handle.clone());
        }
        let item = wanted.items.first().copied().unwrap_or_default();
        let made = match &named.spec {
            ObjectSpec::Value(text) => {
                let mut bytes = Vec::new();
                json::value_from_json(types, item, text.as_bytes(), &mut bytes)
                    .map_err(|error| format!("the first value of `{name}`: {error}"))?;
                Ok(manager.make(ObjectInit::Value { value: Stored { bytes, handles: Vec::new() } }))
            }
            ObjectSpec::Array(text) => {
                let values = array_values(types, item, text)
                    .map_err(|error| format!("the first values of `{name}`: {error}"))?;
                Ok(manager.make(ObjectInit::Array { values }))
            }
            ObjectSpec::SharedArray(len) => match number_of(types.get(item)) {
                Some(form) => manager.make_array(form, *len),
                None => Err(ObjectError::WrongType),
            },
            ObjectSpec::Broadcast(bytes) => manager.make_constant(Number::U8, bytes),
            // These were made when the pool was attached.
            _ => Err(ObjectError::BadHandle),
        };
        let made = made.map_err(|error| format!("`{name}` cannot be made: {error}"))?;
        named.handles = vec![made.clone()];
        Ok(made)
    }
}

/// Makes an object whose initial state depends on no types, both ends of a pipe.
fn make(manager: &Manager, spec: &ObjectSpec) -> Vec<Handle> {
    match spec {
        ObjectSpec::Pipe(mode) => manager.make_pipe(*mode).into(),
        spec => spec.init().map(|init| manager.make(init)).into_iter().collect(),
    }
}

/// The name that an object is declared by: that of the pipe if an end of one is wanted.
fn base_name<'a>(name: &'a str, wanted: &HandleType) -> &'a str {
    match pipe_end(name) {
        Some((pipe, _)) if wanted.kind == Kind::Pipe => pipe,
        _ => name,
    }
}

impl ContentType {
    fn new(wanted: &HandleType, types: &Types) -> Self {
        let items = wanted.items.clone();
        let whole = match (wanted.kind, items.as_slice()) {
            (Kind::Dict, &[key, value]) => Some(Type::Map(key, value)),
            (Kind::Queue | Kind::List | Kind::Array | Kind::SharedArray, &[item]) => Some(Type::Seq(item)),
            _ => None,
        };
        let (types, whole) = match whole {
            Some(whole) => types.with(whole),
            None => (types.clone(), items.first().copied().unwrap_or_default()),
        };
        Self { types: Arc::new(types), items, whole }
    }
}

/// Encodes the initial values of an array, which are a JSON array.
fn array_values(types: &Types, item: TypeIndex, text: &str) -> Result<Vec<Stored>, String> {
    let values: Vec<&serde_json::value::RawValue> =
        serde_json::from_str(text).map_err(|error| error.to_string())?;
    let encode = |value: &&serde_json::value::RawValue| {
        let mut bytes = Vec::new();
        json::value_from_json(types, item, value.get().as_bytes(), &mut bytes)
            .map_err(|error| error.to_string())?;
        Ok(Stored { bytes, handles: Vec::new() })
    };
    values.iter().map(encode).collect()
}

/// Reads the whole content of an object, in postcard.
fn read_content(handle: &Handle, content: &ContentType) -> Result<Vec<u8>, ObjectError> {
    if let Ok(size) = handle.shared_size() {
        let form = number_of(content.types.get(content.items[0])).ok_or(ObjectError::WrongType)?;
        let mut numbers = vec![0; usize::try_from(size).map_err(|_| ObjectError::WrongType)?];
        handle.shared_read(0, &mut numbers)?;
        return Ok(json::numbers_in_postcard(form, &numbers));
    }
    let parts = match handle.call(Call::All, Wait::NonBlocking) {
        Ok(Reply::Items(items, _)) => items.into_iter().map(|item| vec![item.bytes]).collect(),
        Ok(Reply::Entries(entries)) => entries.into_iter().map(|(key, item)| vec![key, item.bytes]).collect(),
        Err(ObjectError::WrongKind) => take_all(handle)?.into_iter().map(|item| vec![item.bytes]).collect(),
        Ok(_) => Vec::new(),
        Err(error) => return Err(error),
    };
    let parts: Vec<Vec<Vec<u8>>> = parts;
    let mut bytes = Vec::new();
    let has_length = matches!(content.types.get(content.whole), Type::Map(..) | Type::Seq(_));
    if has_length && content.whole != content.items[0] {
        json::push_len(&mut bytes, parts.len());
    }
    bytes.extend(parts.into_iter().flatten().flatten());
    Ok(bytes)
}

/// Takes all values out of a queue, without waiting for more.
fn take_all(handle: &Handle) -> Result<Vec<Item<Handle>>, ObjectError> {
    match handle.call(Call::Get(u32::MAX), Wait::NonBlocking) {
        Ok(Reply::Items(items, _)) => Ok(items),
        Ok(_) | Err(ObjectError::Empty | ObjectError::Closed) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn number_of(ty: &Type) -> Option<Number> {
    Some(match ty {
        Type::U8 => Number::U8,
        Type::I8 => Number::I8,
        Type::U16 => Number::U16,
        Type::I16 => Number::I16,
        Type::U32 => Number::U32,
        Type::I32 => Number::I32,
        Type::U64 => Number::U64,
        Type::I64 => Number::I64,
        Type::F32 => Number::F32,
        Type::F64 => Number::F64,
        _ => return None,
    })
}
