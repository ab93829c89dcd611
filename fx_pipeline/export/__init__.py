"""The static export: responses of the API as files, which any web server or CDN can serve."""
