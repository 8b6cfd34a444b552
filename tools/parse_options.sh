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
      [ -n "${!option_name+set}" ] || refuse "unknown option $1"
      [ $# -ge 2 ] || refuse "$1 needs a value"
      printf -v "$option_name" %s "$2"
      shift 2
      ;;
    *) refuse "unexpected word $1, options are --name value" ;;
  esac
done
