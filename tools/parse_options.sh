# Source this: every "--name value" on the command line sets the shell variable "name", which must
# have a default already. "--help" prints the comment at the top of the script.
# Words that are not options of the recipe are refused.
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help)
      sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"
      exit 0
      ;;
    --*)
      option_name=${1#--}
      option_name=${option_name//-/_}
      if [ -z "${!option_name+set}" ]; then
        echo "$0: error: unknown option $1" >&2
        exit 2
      fi
      if [ $# -lt 2 ]; then
        echo "$0: error: $1 needs a value" >&2
        exit 2
      fi
      printf -v "$option_name" %s "$2"
      shift 2
      ;;
    *)
      echo "$0: error: unexpected word $1, options are --name value" >&2
      exit 2
      ;;
  esac
done
