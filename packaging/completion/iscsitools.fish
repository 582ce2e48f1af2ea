# fish completion of iscsitools: the program itself says what there is.
_ISCSITOOLS_COMPLETE=fish_source iscsitools | source
