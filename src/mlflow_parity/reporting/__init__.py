"""One report data class, one file per format; everything leaves through the redactor."""
