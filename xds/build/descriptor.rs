//! The part of `google/protobuf/descriptor.proto` we need, with Envoy's option extensions as plain
//! fields: the types of prost drop extensions, and the rules of a field are one.

use prost::Message;

/// `google.protobuf.FileDescriptorSet`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct FileSet {
    #[prost(message, repeated, tag = "1")]
    pub(crate) files: Vec<File>,
}

/// `google.protobuf.FileDescriptorProto`, without services, extensions and comments.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct File {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, tag = "2")]
    pub(crate) package: String,
    #[prost(string, repeated, tag = "3")]
    pub(crate) dependencies: Vec<String>,
    #[prost(message, repeated, tag = "4")]
    pub(crate) messages: Vec<MessageType>,
    #[prost(message, repeated, tag = "5")]
    pub(crate) enums: Vec<EnumType>,
    #[prost(string, tag = "12")]
    pub(crate) syntax: String,
}

/// `google.protobuf.DescriptorProto`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct MessageType {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(message, repeated, tag = "2")]
    pub(crate) fields: Vec<Field>,
    #[prost(message, repeated, tag = "3")]
    pub(crate) nested: Vec<Self>,
    #[prost(message, repeated, tag = "4")]
    pub(crate) enums: Vec<EnumType>,
    #[prost(message, optional, tag = "7")]
    pub(crate) options: Option<MessageOptions>,
    #[prost(message, repeated, tag = "8")]
    pub(crate) oneofs: Vec<Oneof>,
}

/// `google.protobuf.MessageOptions`; `disabled` and `ignored` are `validate.disabled`,
/// `validate.ignored`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct MessageOptions {
    #[prost(bool, optional, tag = "3")]
    pub(crate) deprecated: Option<bool>,
    #[prost(bool, optional, tag = "7")]
    pub(crate) map_entry: Option<bool>,
    #[prost(bool, optional, tag = "1071")]
    pub(crate) disabled: Option<bool>,
    #[prost(bool, optional, tag = "1072")]
    pub(crate) ignored: Option<bool>,
}

/// `google.protobuf.OneofDescriptorProto`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Oneof {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) options: Option<OneofOptions>,
}

/// `google.protobuf.OneofOptions`; `required` is `validate.required`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct OneofOptions {
    #[prost(bool, optional, tag = "1071")]
    pub(crate) required: Option<bool>,
}

/// `google.protobuf.FieldDescriptorProto`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Field {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(int32, tag = "3")]
    pub(crate) number: i32,
    #[prost(int32, tag = "4")]
    pub(crate) label: i32,
    #[prost(int32, tag = "5")]
    pub(crate) kind: i32,
    #[prost(string, optional, tag = "6")]
    pub(crate) type_name: Option<String>,
    #[prost(message, optional, tag = "8")]
    pub(crate) options: Option<FieldOptions>,
    #[prost(int32, optional, tag = "9")]
    pub(crate) oneof_index: Option<i32>,
    #[prost(string, optional, tag = "10")]
    pub(crate) json_name: Option<String>,
    #[prost(bool, optional, tag = "17")]
    pub(crate) proto3_optional: Option<bool>,
}

/// `google.protobuf.FieldOptions` with the extensions `validate.rules`,
/// `udpa.annotations.sensitive` and `envoy.annotations.disallowed_by_default`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct FieldOptions {
    #[prost(bool, optional, tag = "2")]
    pub(crate) packed: Option<bool>,
    #[prost(bool, optional, tag = "3")]
    pub(crate) deprecated: Option<bool>,
    #[prost(bytes = "vec", optional, tag = "1071")]
    pub(crate) rules: Option<Vec<u8>>,
    #[prost(bool, optional, tag = "76569463")]
    pub(crate) sensitive: Option<bool>,
    #[prost(bool, optional, tag = "189503207")]
    pub(crate) disallowed: Option<bool>,
}

/// `google.protobuf.EnumDescriptorProto`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct EnumType {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(message, repeated, tag = "2")]
    pub(crate) values: Vec<EnumValue>,
}

/// `google.protobuf.EnumValueDescriptorProto`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct EnumValue {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(int32, tag = "2")]
    pub(crate) number: i32,
    #[prost(message, optional, tag = "3")]
    pub(crate) options: Option<EnumValueOptions>,
}

/// `google.protobuf.EnumValueOptions` with `envoy.annotations.disallowed_by_default_enum`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct EnumValueOptions {
    #[prost(bool, optional, tag = "1")]
    pub(crate) deprecated: Option<bool>,
    #[prost(bool, optional, tag = "70100853")]
    pub(crate) disallowed: Option<bool>,
}

/// `FieldDescriptorProto.Type` of messages and enums.
pub(crate) const KIND_MESSAGE: i32 = 11;
pub(crate) const KIND_ENUM: i32 = 14;
