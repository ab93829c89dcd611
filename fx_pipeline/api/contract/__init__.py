"""The API's definition: its operations, their schemas, and the OpenAPI document derived from them."""
